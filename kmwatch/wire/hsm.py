"""Records of an HSM, as JSON objects whose fields a mapping names: no two vendors agree on them.

A mapping says which field holds what, and which operations mean what. Built in are

- `pkcs11`: one object a PKCS#11 call (`function`, `rv`), as a shim in front of a token writes them; recorded and tried.
- `cloudhsm`: AWS CloudHSM's log in CloudWatch, management commands only: no decrypts. NOT TRIED on the real service.
- `azure`: Azure Managed HSM's and Key Vault's diagnostic records. NOT TRIED on the real service.

A form without records of decrypts supports logins, unwraps, refusals and key changes (KMW-036 to 039), not the
account of reads (KMW-035, 040).
"""

from __future__ import annotations

import json
from datetime import UTC
from hashlib import blake2b
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import BackendRecord, Decoded, Deed, Ignored, Rejected, RejectReason, Result, Slot
from kmwatch.wire.times import LATEST, naive

_KEPT: Final = 1024
_Scalar = str | int | float | bool | None
_SESSION_OBJECT: Final = "(session key)"  # as the shim calls what is gone with its session
_MAKING: Final = ("C_GenerateKey", "C_GenerateKeyPair", "C_CreateObject", "C_CopyObject")


class Mapping(Struct, frozen=True):
    """Which field of a vendor's record holds what. A field in an object within is written `identity.claim.appid`."""

    time: str
    operation: str
    result: str
    id: str | None = None  # without one, all that is mapped together names the record
    client: str | None = None
    host: str | None = None
    user: str | None = None
    session: str | None = None
    address: str | None = None
    key: str | None = None
    ok: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    privileged: tuple[str, ...] = ()  # users: security officers
    skip: tuple[tuple[str, str], ...] = ()  # field and value of records that are no operation of the HSM
    deeds: tuple[tuple[str, Deed], ...] = ()  # operation -> what it means
    decrypts: bool = True  # whether there is a record of each decrypt


def _deeds(**names: str) -> tuple[tuple[str, Deed], ...]:
    return tuple((name, Deed(deed)) for deed, held in names.items() for name in held.split())


PKCS11: Final = Mapping(
    time="time",
    operation="function",
    result="rv",
    id="seq",
    client="client",
    host="host",
    user="user",
    session="session",
    key="object_label",
    ok=("CKR_OK",),
    refused=("CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_INVALID", "CKR_USER_TYPE_INVALID"),
    privileged=("CKU_SO", "SO"),
    skip=(("reached_hsm", "false"), ("size_query", "true")),
    deeds=_deeds(
        read="C_Decrypt C_DecryptFinal",
        write="C_Encrypt C_EncryptFinal",
        unwrap="C_UnwrapKey",
        login="C_Login",
        change="C_InitToken C_InitPIN C_SetPIN C_SetAttributeValue C_GenerateKey C_GenerateKeyPair C_CreateObject"
        " C_CopyObject C_DestroyObject",
    ),
)
CLOUDHSM: Final = Mapping(
    time="Time",
    operation="Opcode",
    result="Response",
    id="Sequence No",
    user="User Name",
    session="Session Handle",
    key="Key Handle",
    ok=("0:HSM Return: SUCCESS",),
    refused=("HSM Error: RET_USER_LOGIN_FAILURE",),
    deeds=_deeds(
        unwrap="CN_UNWRAP_KEY",
        login="CN_LOGIN",
        extract="CN_EXTRACT_MASKED_OBJECT_USER CN_WRAP_KEY CN_NIST_AES_WRAP",
        change="CN_GENERATE_KEY CN_GENERATE_KEY_PAIR CN_CREATE_OBJECT CN_TOMBSTONE_OBJECT CN_CREATE_USER"
        " CN_DELETE_USER CN_CHANGE_PSWD CN_SHARE_OBJECT CN_MODIFY_OBJECT",
    ),
    decrypts=False,
)
AZURE: Final = Mapping(
    time="time",
    operation="operationName",
    result="resultType",
    client="identity.claim.appid",
    address="callerIpAddress",
    key="properties.requestUri",
    ok=("Success",),
    refused=("Unauthorized", "Forbidden"),
    deeds=_deeds(
        read="KeyDecrypt",
        write="KeyEncrypt",
        unwrap="KeyUnwrap",
        extract="KeyBackup BackupCreate SecurityDomainDownload",
        change="KeyCreate KeyImport KeyDelete KeyPurge KeyRestore KeyUpdate RoleAssignmentCreate RoleAssignmentDelete",
    ),
)
BUILT_IN: Final = {"pkcs11": PKCS11, "cloudhsm": CLOUDHSM, "azure": AZURE}


def decode(value: bytes, mapping: Mapping) -> Decoded:
    """Read one record.

    Args:
        value: the JSON object.
        mapping: what its fields mean.

    Returns:
        The record; Ignored for what is no operation of the HSM; or Rejected. Never raises.
    """
    try:
        fields = json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return Rejected(RejectReason.NOT_JSON, "an HSM's record that is no JSON")
    if not isinstance(fields, dict):
        return Rejected(RejectReason.BAD_LINE, "an HSM's record that is no JSON object")
    operation, result = _text(fields, mapping.operation), _text(fields, mapping.result)
    if operation is None or result is None:
        return Rejected(RejectReason.BAD_LINE, "an HSM's record without an operation or a result")
    at = _moment(_held(fields, mapping.time))
    if at is None:
        return Rejected(RejectReason.BAD_TIME, "an HSM's record without a time")
    if any(_text(fields, name) == held for name, held in mapping.skip):
        return Ignored.NO_EVIDENCE
    own = _text(fields, mapping.id)
    if own is None:
        own = _digest(fields)
    user = _text(fields, mapping.user)
    deed = dict(mapping.deeds).get(operation, Deed.OTHER)
    ended = Result.OK if result in mapping.ok else Result.REFUSED if result in mapping.refused else Result.FAILED
    return BackendRecord(
        Slot.BACKEND,
        f"backend:{own}",
        at,
        f"backend:{own}",
        _refined(deed, operation, fields) if mapping is PKCS11 else deed,
        ended,
        operation if ended is Result.OK else f"{operation} {result}",
        None,
        _text(fields, mapping.client),
        None,
        _text(fields, mapping.host),
        _text(fields, mapping.address),
        _text(fields, mapping.session),
        user in mapping.privileged,
        None,
        _text(fields, mapping.key),
        blind=not mapping.decrypts,
    )


def _refined(deed: Deed, operation: str, fields: dict[str, Any]) -> Deed:
    """What only a PKCS#11 call's arguments tell: session objects are everyday work, values of keys are not."""
    if operation == "C_UnwrapKey" and fields.get("new_key_sensitive") is False:
        return Deed.EXTRACT
    if operation == "C_GetAttributeValue":
        asked = fields.get("attributes")
        return Deed.EXTRACT if isinstance(asked, list) and "CKA_VALUE" in asked else deed
    if operation == "C_DestroyObject":
        return Deed.OTHER if fields.get("object_label") == _SESSION_OBJECT else deed
    if operation in _MAKING:
        return deed if fields.get("token_object") is True else Deed.OTHER
    return deed


def cloudhsm(line: str, zone: object = None, host: str | None = None) -> Decoded | None:  # noqa: ARG001  (one shape)
    """Read a record of AWS CloudHSM: several lines of `name : value`, one event of its log stream."""
    if not line.startswith("Time: ") or "usecs:" not in line[:80]:
        return None
    fields: dict[str, Any] = {}
    for part in line.split("\n"):
        name, colon, held = part.partition(":")
        if colon:
            fields.setdefault(name.strip(), held.strip())
    micros = fields["Time"].rpartition("usecs:")[2]
    fields["Time"] = int(micros) if micros.isascii() and micros.isdigit() and len(micros) < 18 else None  # noqa: PLR2004
    return decode(json.dumps(fields).encode(), CLOUDHSM)


def _held(fields: dict[str, Any], name: str | None) -> _Scalar:
    """A field's value; None where there is none, or it is no scalar."""
    held: Any = fields
    for part in (name or "").split(".") if name not in fields else (name,):
        held = held.get(part) if isinstance(held, dict) else None
    return held if isinstance(held, str | int | float) else None


def _text(fields: dict[str, Any], name: str | None) -> str | None:
    held = _held(fields, name) if name is not None else None
    if held is None or held == "":
        return None
    return json.dumps(held) if isinstance(held, bool) else str(held)[:_KEPT]


def _moment(held: _Scalar) -> Micros | None:
    """A time as text in UTC, or as seconds, milliseconds or microseconds since 1970."""
    if isinstance(held, str):
        try:
            return naive(held, UTC)
        except ValueError:
            return None
    if isinstance(held, bool) or held is None or held != held or held <= 0:  # noqa: PLR0124  (not a number)
        return None
    scale = next((scale for scale in (SECOND, 1000, 1) if held * scale < LATEST / 10), None)
    return None if scale is None else int(held * scale)


def _digest(fields: dict[str, Any]) -> str:
    told = json.dumps(fields, sort_keys=True, default=str).encode("utf-8", "replace")
    return blake2b(told, digest_size=8).hexdigest()
