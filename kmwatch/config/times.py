"""Times in the caller map: working hours, rates, last days."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.values import Text, choice, parse_duration
from kmwatch.core.model import Rate

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_RATE = re.compile(r"([1-9][0-9]{0,6})/([0-9]{1,9}[smhd])")
_MIDNIGHT = 1440


def _clock(value: object) -> int:
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minute = int(found[1]) * 60 + int(found[2]) if found else _MIDNIGHT + 1
    if minute > _MIDNIGHT:
        raise ValueError("is no time of day; write HH:MM, from 00:00 to 24:00")
    return minute


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # KeyError is what zoneinfo's own error is
        raise ValueError(f'there is no time zone "{value}"; write an IANA name such as Europe/Berlin') from None
    return value


ZoneName = Annotated[Text, AfterValidator(_zone)]


def _day(value: object) -> str:
    return choice(value, list(DAYS))


_TIME_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-4]):[0-5][0-9]$"})
Clock = Annotated[int, BeforeValidator(_clock), _TIME_SCHEMA]
Day = Annotated[str, BeforeValidator(_day), WithJsonSchema({"enum": list(DAYS)})]


class Hours(Model):
    """When. `to` is exclusive; `from` later than `to` runs over midnight and belongs to the day it starts."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    """Days of the week."""
    start: Clock = Field(default="00:00", alias="from", validate_default=True)
    """The first minute, HH:MM."""
    end: Clock = Field(default="24:00", alias="to", validate_default=True)
    """The minute after the last, HH:MM."""
    timezone: ZoneName = "UTC"
    """IANA name of the time zone."""

    @model_validator(mode="after")
    def _not_empty(self) -> Hours:
        if self.start in {self.end, _MIDNIGHT}:
            raise ValueError("from and to leave no time between them; write from: 00:00 and to: 24:00 for all day")
        return self


def parse_rate(value: object) -> Rate:
    """`200/5m`: distinct secrets per caller within a window; ValueError for anything else."""
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or parse_duration(found[2]) == 0:
        raise ValueError("is no rate; write distinct secrets per time, such as 200/5m")
    return Rate(int(found[1]), parse_duration(found[2]))


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("is no date; write the last day that counts, such as 2027-06-30")


RateText = Annotated[
    InstanceOf[Rate],
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*/[0-9]+[smhd]$"}),
]
Expiry = Annotated[date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
