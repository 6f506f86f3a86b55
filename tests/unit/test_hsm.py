"""An HSM's records by a mapping: the built-in ones, and one that an operator writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.assembly import hsm_mapping
from kmwatch.config.backend_log import Hsm
from kmwatch.core.model import SECOND
from kmwatch.core.record import BackendRecord, Deed, Ignored, Rejected, RejectReason, Result
from kmwatch.wire.decode import Options, Reader
from kmwatch.wire.hsm import AZURE, CLOUDHSM, PKCS11
from tests.support.backed import recorded

AT = 1_795_478_767_151_812


def read(value: bytes, reader: Reader | None = None) -> BackendRecord:
    found = (reader or Reader()).decode(value, None)
    assert isinstance(found, BackendRecord), found
    return found


def test_calls_of_the_recording_mean_what_they_do() -> None:
    calls = [json.loads(line) for line in recorded("pkcs11.jsonl")]
    for call, line in zip(calls, recorded("pkcs11.jsonl"), strict=True):
        if call["reached_hsm"] is False or call.get("size_query"):
            assert Reader().decode(line, None) is Ignored.NO_EVIDENCE
            continue
        record, function = read(line), call["function"]
        if function == "C_UnwrapKey":
            assert record.deed is (Deed.UNWRAP if call["new_key_sensitive"] else Deed.EXTRACT)
        elif function == "C_GetAttributeValue":
            assert record.deed is (Deed.EXTRACT if "CKA_VALUE" in call["attributes"] else Deed.OTHER)
        elif function == "C_DestroyObject":
            assert record.deed is (Deed.OTHER if call["object_label"] == "(session key)" else Deed.CHANGE)
        elif function == "C_GenerateKey":
            assert record.deed is (Deed.CHANGE if call["token_object"] else Deed.OTHER)
        else:
            known = {"C_Decrypt": Deed.READ, "C_Encrypt": Deed.WRITE, "C_Login": Deed.LOGIN}
            known |= dict.fromkeys(("C_InitToken", "C_InitPIN"), Deed.CHANGE)
            assert record.deed is known.get(function, Deed.OTHER)
        assert record.event_id == f"backend:{call['seq']}"
        assert (record.name, record.host, record.privileged) == (call["client"], call["host"], call["user"] == "CKU_SO")


def test_a_wrong_pin_is_a_refusal() -> None:
    wrong = next(line for line in recorded("pkcs11.jsonl") if b"CKR_PIN_INCORRECT" in line)
    assert read(wrong).result is Result.REFUSED


CLOUD = """\
Time: 11/24/26 00:06:07.151812, usecs:1795478767151812
Sequence No : 0x2f1
Reboot counter : 0x11
Command Type(hex) : CN_MGMT_CMD (0x0)
Opcode : CN_UNWRAP_KEY
Session Handle : 0x1014006
Response : 0:HSM Return: SUCCESS
Log type : MINIMAL_LOG_ENTRY (0)"""


def test_the_published_shape_of_aws_cloudhsm_is_read() -> None:
    for value in (CLOUD.encode(), json.dumps({"message": CLOUD}).encode()):
        record = read(value)
        assert (record.deed, record.result, record.event_id) == (Deed.UNWRAP, Result.OK, "backend:0x2f1")
        assert (record.observed_time, record.connection) == (AT, "0x1014006")
    assert CLOUDHSM.decrypts is False


def test_the_published_shape_of_azure_managed_hsm_is_read() -> None:
    value = json.dumps(
        {
            "time": "2026-11-24T00:06:07.1518123Z",
            "operationName": "KeyDecrypt",
            "resultType": "Success",
            "callerIpAddress": "192.0.2.10",
            "identity": {"claim": {"appid": "app-1"}},
            "properties": {"requestUri": "https://labhsm.example/keys/mkek"},
        }
    ).encode()
    record = read(value, Reader(Options(hsm=AZURE)))
    assert (record.deed, record.name, record.address, record.observed_time) == (Deed.READ, "app-1", "192.0.2.10", AT)
    assert record.event_id == read(value, Reader(Options(hsm=AZURE))).event_id


def test_without_a_mapping_nothing_is_guessed() -> None:
    found = Reader().decode(b'{"time": 1, "operationName": "KeyDecrypt", "resultType": "Success"}', None)
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.UNKNOWN_FORM


OWN = Hsm.model_validate(
    {
        "fields": {"time": "at.when", "operation": "op", "result": "res", "id": "n", "client": "who.cn"},
        "operations": {"read": ["DEC"], "login": ["LOGIN"]},
        "ok": ["0"],
        "refused": ["5"],
    }
)


@pytest.mark.parametrize("when", [AT, AT // 1000, AT / SECOND, "2026-11-24T00:06:07.151812"])
def test_an_operators_mapping_reads_times_of_every_kind(when: float | str) -> None:
    reader = Reader(Options(hsm=hsm_mapping(OWN)))
    value = json.dumps({"at": {"when": when}, "op": "DEC", "res": 0, "n": 7, "who": {"cn": "x"}}).encode()
    record = read(value, reader)
    assert abs(record.observed_time - AT) < 1000
    assert (record.deed, record.result, record.name, record.event_id) == (Deed.READ, Result.OK, "x", "backend:7")


@pytest.mark.parametrize(
    "given", [{}, {"form": "pkcs11", "fields": {"time": "t", "operation": "o", "result": "r"}}, {"form": "luna"}]
)
def test_a_mapping_is_a_built_in_form_or_fields_with_meanings(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give a form|Input should be"):
        Hsm.model_validate(given)


@given(
    st.dictionaries(
        st.sampled_from(["time", "function", "rv", "seq", "attributes"]), st.none() | st.text() | st.floats()
    )
)
def test_any_content_is_read_or_refused(content: dict[str, object]) -> None:
    found = Reader(Options(form="pkcs11")).decode(
        json.dumps({"time": 1, "function": "f", "rv": "r", **content}).encode(), None
    )
    assert isinstance(found, BackendRecord | Rejected)
    assert PKCS11.decrypts
