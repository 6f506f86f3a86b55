"""How the log of the HSM or the store behind the Key Manager is read."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.values import DurationOrNone, Text
from kmwatch.core.model import MINUTE, SECOND, Micros

_span = re.compile(r"([0-9]{1,6})(ms|s)").fullmatch
_LONGEST_ERROR = 60 * SECOND
_LONGEST_DELAY = 30 * MINUTE


def _error(value: object) -> Micros:
    found = _span(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is no span; write one such as 100ms or 2s")
    micros = int(found[1]) * (1000 if found[2] == "ms" else SECOND)
    if micros > _LONGEST_ERROR:
        raise ValueError("may be 60s at most; set the clocks right")
    return micros


def _late(micros: int) -> int:
    if micros > _LONGEST_DELAY:
        raise ValueError("may be 30m at most; shorten it")
    return micros


ClockError = Annotated[
    int, BeforeValidator(_error), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6}(ms|s)$"})
]
Delay = Annotated[DurationOrNone, AfterValidator(_late)]
_Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


class Fields(Model):
    """Which field of the HSM's JSON records holds what; one in an object within is written identity.claim.appid."""

    time: Text
    """When: RFC 3339 or like it in UTC, or a number since 1970."""
    operation: Text
    """What was done."""
    result: Text
    """How it ended."""
    id: Text | None = None
    """The record's own id, as findings cite it; without it, a digest of the record."""
    client: Text | None = None
    """The client's name."""
    host: Text | None = None
    """The client's host."""
    user: Text | None = None
    """The user of the partition."""
    session: Text | None = None
    """The session."""
    address: Text | None = None
    """The client's address."""
    key: Text | None = None
    """The key."""


class Operations(Model):
    """What operations mean; one that is not listed is of no interest."""

    read: _Texts | None = None
    """One payload decrypted."""
    write: _Texts | None = None
    """One payload encrypted."""
    unwrap: _Texts | None = None
    """A project's key loaded."""
    login: _Texts | None = None
    """A login."""
    extract: _Texts | None = None
    """A key made readable or read out."""
    change: _Texts | None = None
    """Keys, users or rights changed."""


class Hsm(Model):
    """An HSM's records: a built-in form, or a mapping of their fields."""

    form: Literal["pkcs11", "cloudhsm", "azure"] | None = None
    """A built-in mapping; cloudhsm and azure have not been tried on the real service."""
    fields: Fields | None = None
    """Which field holds what."""
    operations: Operations | None = None
    """What operations mean."""
    ok: _Texts | None = None
    """Results of success."""
    refused: _Texts | None = None
    """Results of refusal, as a wrong PIN."""
    privileged: _Texts | None = None
    """Users with the highest privilege: security officers."""

    @model_validator(mode="after")
    def _one_way(self) -> Hsm:
        if (self.form is None) == (self.fields is None):
            raise ValueError("give a form, or fields with operations and ok; exactly one of them")
        if self.fields is not None and (self.operations is None or self.ok is None):
            raise ValueError("fields alone mean nothing; add operations and ok")
        return self


class BackendLog(Model):
    """The log of the HSM or the store."""

    clock_error: ClockError = Field(default="100ms", validate_default=True)
    """By how much its clock and the Key Manager's may differ."""
    delay: Delay = Field(default="0s", validate_default=True)
    """By how much its records may come later than the Key Manager's own."""
    hsm: Hsm | None = None
    """What an HSM's JSON records mean, where they are in no form of ours."""
