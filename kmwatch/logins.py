"""How sources log in to Kafka, renewed by a reload while they read: no reconnect, no rebalance, no restart.

New credentials are tried before anything goes by them. What a broker refuses leaves the old ones in place, for they may
be all that keeps the daemon reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from kmwatch.config.fingerprint import fingerprint
from kmwatch.config.settings import Settings
from kmwatch.config.sources import Kafka
from kmwatch.config.sources import Source as SourceSettings
from kmwatch.kafka.security import arguments
from kmwatch.kafka.trouble import tried
from kmwatch.ports import ConfigurationError, Source
from kmwatch.sources.kafka import KafkaSource


class Renewal(NamedTuple):
    """What a reload does to logins."""

    sources: tuple[SourceSettings, ...]  # in force afterwards
    logins: tuple[tuple[KafkaSource, Mapping[str, object]], ...]  # what to go by from now on, where that is new
    untried: tuple[str, ...]  # why some of them could not be tried


class Logins:
    """The sources there are, as configured and as made."""

    def __init__(self, given: Sequence[SourceSettings], parts: Sequence[Source]) -> None:
        """Take what is configured, and what was made of each."""
        self._sources, self._parts = tuple(given), tuple(parts)
        self._marks = [_mark(source) for source in given]

    async def plan(self, settings: Settings) -> Renewal:
        """Try what is new. A source that differs in anything else waits for a restart, login and all.

        Raises:
            ConfigurationError: a broker refuses it, or a file cannot be used.
        """
        sources, logins, untried = list[SourceSettings](), list[tuple[KafkaSource, Mapping[str, object]]](), list[str]()
        wanted = settings.sources[: len(self._sources)]
        for running, other, part, mark in zip_longest(self._sources, wanted, self._parts, self._marks):
            source = running if other is None else _with_login_of(running, other)
            sources.append(source)
            if source.kafka is not None and isinstance(part, KafkaSource) and _mark(source) != mark:
                security, why = await _try(source.kafka)
                logins.append((part, security))
                untried += [] if why is None else [why]
        return Renewal(tuple(sources), tuple(logins), tuple(untried))

    def take(self, renewal: Renewal) -> None:
        """Go by it from the next connection on."""
        self._sources, self._marks = renewal.sources, [_mark(source) for source in renewal.sources]
        for part, security in renewal.logins:
            part.secure(security)


def _mark(source: SourceSettings) -> str | None:
    return None if source.kafka is None else fingerprint(source.kafka.security)


def _with_login_of(running: SourceSettings, other: SourceSettings) -> SourceSettings:
    """The running source with the other's login, if that is all they differ in; else as it runs."""
    if running.kafka is None or other.kafka is None:
        return running
    kafka = running.kafka.model_copy(update={"security": other.kafka.security})
    return other if running.model_copy(update={"kafka": kafka}) == other else running


async def _try(given: Kafka) -> tuple[Mapping[str, object], str | None]:
    """The arguments of a login, and why it could not be tried, if so."""
    try:
        security = arguments(given.security)
    except OSError as error:
        raise ConfigurationError(f"sources.kafka.security: cannot load ca, cert or key: {error}") from error
    trouble = await tried(given.bootstrap, security)
    if trouble is not None and trouble.is_standing:
        raise ConfigurationError(f"sources.kafka: {trouble.message}")
    return security, None if trouble is None else trouble.message
