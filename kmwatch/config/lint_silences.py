"""Silences that deserve a second look: those that are over, too wide, idle, or endless."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

from kmwatch.config.problems import Level, Problem, place
from kmwatch.config.settings import Settings
from kmwatch.config.silences import Silence
from kmwatch.config.source import Document, Where
from kmwatch.core.model import Mode

_LONGEST = timedelta(days=366)
_SCOPE = ("callers", "secrets", "networks")
_DECOY = "KMW-022"
Remark = tuple[Where, str, Level]


class Known:
    """What the other files know; None where there is no such file, so that nothing can be said."""

    def __init__(
        self, callers: Collection[str], users: Collection[str] | None, secrets: Collection[str] | None
    ) -> None:
        """Take the names of the caller map, user ids, and secret ids."""
        self.callers, self.users, self.secrets = callers, users, secrets


def lint_silences(settings: Settings, document: Document, known: Known, today: date | None) -> list[Problem]:
    """All remarks on the silences of a configuration.

    Args:
        settings: the configuration, which is valid.
        document: for lines.
        known: what silences may name.
        today: the date in UTC; None leaves unsaid what depends on it.
    """
    remarks: list[Remark] = []
    for index, silence in enumerate(settings.silences):
        at: Where = ("silences", index)
        remarks += _time(silence, at, today)
        remarks += _width(silence, at)
        remarks += _idle(silence, at, settings, known)
        for number, other in enumerate(settings.silences[:index]):
            if _covers(other, silence):
                message = f'silences nothing beyond "{other.id}" (silences[{number}]); remove one of the two'
                remarks.append((at, message, Level.WARNING))
                break
    return [
        Problem(document.file, document.line(where), place(where), message, level) for where, message, level in remarks
    ]


def _time(silence: Silence, at: Where, today: date | None) -> Iterator[Remark]:
    where: Where = (*at, "expires")
    if today is not None and silence.expires < today:
        message = f"expired after {silence.expires}; remove it, or set a later date if its reason still holds"
        yield where, message, Level.WARNING
    elif today is not None and silence.expires - today > _LONGEST:
        message = "ends in more than a year; nobody remembers a reason that long: choose an earlier day"
        yield where, message, Level.WARNING


def _width(silence: Silence, at: Where) -> Iterator[Remark]:
    if all(getattr(silence, key) is None for key in _SCOPE):
        what = "everything" if silence.detections is None else "a whole detection"
        message = f"silences {what}; name callers, secrets or networks, or set the mode of a detection to shadow"
        yield at, message, Level.WARNING
    if silence.callers is None and (silence.detections is None or _DECOY in silence.detections):
        message = f"covers {_DECOY} for anybody; a decoy's only exception is an exact caller: name callers"
        yield at, message, Level.WARNING if silence.detections is None else Level.ERROR


def _idle(silence: Silence, at: Where, settings: Settings, known: Known) -> Iterator[Remark]:
    """Parts that can never fit."""
    for name in silence.detections or ():
        given = settings.detections.get(name)
        if given is not None and given.mode is Mode.OFF:
            yield (*at, "detections"), f"{name} is off, so there is nothing to silence; remove it", Level.WARNING
    for name in silence.callers or ():
        if name not in known.callers and known.users is not None and name not in known.users:
            message = f'"{name}" is no caller of the map and no user id of the identities; correct or remove it'
            yield (*at, "callers"), message, Level.WARNING
    for name in silence.secrets or ():
        if known.secrets is not None and name not in known.secrets:
            message = f"{name} is not in the inventory; correct or remove it"
            yield (*at, "secrets"), message, Level.WARNING


def _covers(other: Silence, silence: Silence) -> bool:
    for key in ("detections", *_SCOPE):
        wide, narrow = getattr(other, key), getattr(silence, key)
        if wide is not None and (narrow is None or not set(narrow) <= set(wide)):
            return False
    return silence.expires <= other.expires
