"""Alerts to Splunk's HTTP Event Collector.

Promise: at least once. Without indexer acknowledgement a finding is delivered when HEC has taken it into its queue;
with `ack` when the indexers have it on disk. Splunk de-duplicates nothing: search by the line's id.

What Splunk's documentation and its users tell of HEC, and what follows:
- A body is JSON objects one after the other, no array; time in seconds; at most 900 kB a request here.
- On 400 the objects before `invalid-event-number` are already indexed: those are delivered, the named one is dead, the
  rest is sent again. With `ack` such an answer has no ackId, so nothing but the named one is settled by it.
- An acknowledgement is told once only. If its telling is lost, the findings are sent again when `ack_timeout` is over.
- Until then nothing is sent twice: what HEC has taken is remembered, and only asked about.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from kmwatch.core.health import Health
from kmwatch.core.model import SECOND, Finding
from kmwatch.ports import ConfigurationError, PartialError, SinkError, SplitError, TransientError
from kmwatch.sinks.http import Answer, HttpClient
from kmwatch.wire.formats import Format, format_named, render_all

_MOST = 900_000  # octets of a request before compression
_EVENT = 800_000  # octets of one event
_POLL = (0.1, 2.0)  # seconds between questions for acknowledgement: first, most
_PATIENCE = 30.0  # seconds of one send that wait for acknowledgement; the next one goes on waiting
_DATA = frozenset({5, 6, 12, 13, 15})
_SETUP = frozenset({1, 2, 3, 4, 7, 10, 11, 14, 16})
_RETRY = frozenset({8, 9})


class _Said(msgspec.Struct, rename={"invalid": "invalid-event-number", "ack": "ackId"}):
    text: str = ""
    code: int = -1
    invalid: int | None = None
    ack: int | None = None


class _Acks(msgspec.Struct):
    acks: dict[str, bool]


class _Taken(NamedTuple):
    """HEC has it, and the indexers may not yet."""

    ack: int
    since: float


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands beside each event; None leaves it to the token."""

    index: str | None = None
    host: str | None = None
    source: str | None = None
    sourcetype: str | None = None


class SplunkHecSink:
    """See the module. Used by one task only."""

    def __init__(  # noqa: PLR0913 - independent parts, by keyword
        self,
        name: str,
        client: HttpClient,
        url: str,
        *,
        format: str = "ocsf",  # noqa: A002 - the configuration's word
        meta: Meta = Meta(),  # noqa: B008 - immutable
        ack: bool = False,
        ack_timeout: float = 300.0,
        patience: float = _PATIENCE,
    ) -> None:
        """Take the configured values.

        Args:
            name: of the sink.
            client: with the token in its headers.
            url: of the collector, without a path.
            format: of each event: JSON forms as objects, others as text.
            meta: index and the like.
            ack: wait for the indexers.
            ack_timeout: seconds after which what the indexers have not acknowledged is sent again.
            patience: seconds that one `send` waits for them.
        """
        self.name = name
        self._client, self._format, self._meta = client, format_named(format), meta
        self._ack, self._ack_timeout, self._patience = ack, ack_timeout, patience
        base = url.rstrip("/")
        self._channel = str(uuid.uuid4())
        self._collector = f"{base}/services/collector/event"
        self._asking = f"{base}/services/collector/ack?channel={self._channel}"
        self._taken: dict[str, _Taken] = {}  # by line id

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver; see the module for what that means."""
        now = asyncio.get_running_loop().time()
        self._taken = {uid: taken for uid, taken in self._taken.items() if now - taken.since < self._ack_timeout}
        new = [place for place, finding in enumerate(findings) if finding.line_uid not in self._taken]
        body = b"".join(render_all(self._event, [findings[place] for place in new]))
        if len(body) > _MOST and len(new) > 1:
            if len(new) == len(findings):
                raise SplitError(f"{self._client.peer}: {len(body)} octets are more than {_MOST} in a request")
            await self._acknowledged(findings, new)  # first those that are on their way
            raise PartialError({}, new)
        said = await self._post(findings, new, body) if new else None
        if self._ack:
            await self._acknowledged(findings, ())
        return said

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    async def _post(self, findings: Sequence[Finding], new: Sequence[int], body: bytes) -> str:
        headers = {"Content-Type": "application/json", "X-Splunk-Request-Channel": self._channel}
        answer = await self._client.post(self._collector, body, headers, compress=True)
        said = _read(answer)
        if not answer.is_ok or said.code > 0:
            raise self._refusal(answer, said, new, len(findings))
        if self._ack:
            if said.ack is None:
                why = "the token has no indexer acknowledgement; switch it on there, or ack off here"
                raise ConfigurationError(f"{self._client.peer}: {why}")
            taken = _Taken(said.ack, asyncio.get_running_loop().time())
            self._taken |= {findings[place].line_uid: taken for place in new}
        return self._client.shown(answer)

    def _refusal(self, answer: Answer, said: _Said, new: Sequence[int], total: int) -> SinkError:
        shown = f"{self._client.peer}: {self._client.shown(answer)}"
        if said.code in _SETUP:
            return ConfigurationError(f"{shown}; check token, index and ack")
        if said.code in _RETRY:
            return TransientError(shown, answer.retry_after)
        if said.code in _DATA and said.invalid is not None and 0 <= said.invalid < len(new):
            settled = {new[said.invalid]}
            settled |= set() if self._ack else set(new[: said.invalid])
            return PartialError({new[said.invalid]: shown}, set(range(total)) - settled)
        return self._client.refusal(answer)

    def _event(self, finding: Finding) -> bytes:
        line = self._format.render(finding, _EVENT)
        event = line if self._format.is_json else msgspec.json.encode(line.decode())
        meta: dict[str, str] = {"sourcetype": _sourcetype(self._format, finding)}
        meta |= {key: value for key, value in msgspec.structs.asdict(self._meta).items() if value is not None}
        # Splunk reads a number or a string of one; six digits are exact where a float would not be.
        head = {"time": f"{finding.time // SECOND}.{finding.time % SECOND:06d}", **meta}
        return msgspec.json.encode(head)[:-1] + b',"event":' + event + b"}"

    async def _acknowledged(self, findings: Sequence[Finding], unsent: Sequence[int]) -> None:
        """Ask until every finding that was taken is acknowledged, or patience ends."""
        clock = asyncio.get_running_loop().time
        deadline, (delay, most) = clock() + self._patience, _POLL
        waiting = {place: self._taken[f.line_uid] for place, f in enumerate(findings) if f.line_uid in self._taken}
        while waiting:
            done = await self._ask(sorted({taken.ack for taken in waiting.values()}))
            for place in [place for place, taken in waiting.items() if taken.ack in done]:
                del waiting[place]
            self._taken = {uid: taken for uid, taken in self._taken.items() if taken.ack not in done}
            if not waiting:
                return
            if clock() + delay > deadline:
                late = TransientError(f"{self._client.peer}: the indexers have not acknowledged them yet")
                raise PartialError({}, {*waiting, *unsent}, late)
            await asyncio.sleep(delay)
            delay = min(2 * delay, most)

    async def _ask(self, acks: list[int]) -> set[int]:
        body = msgspec.json.encode({"acks": acks})
        answer = await self._client.post(self._asking, body, {"X-Splunk-Request-Channel": self._channel})
        if not answer.is_ok:
            said = _read(answer)
            if said.code in _SETUP:
                raise ConfigurationError(f"{self._client.peer}: {self._client.shown(answer)}; check token and ack")
            raise self._as_transient(answer)
        try:
            found = msgspec.json.decode(answer.body, type=_Acks)
            return {int(ack) for ack, done in found.acks.items() if done}
        except (msgspec.MsgspecError, ValueError):
            raise self._as_transient(answer) from None

    def _as_transient(self, answer: Answer) -> SinkError:
        """An answer to a question about acknowledgements says nothing of the findings themselves."""
        error = self._client.refusal(answer) if not answer.is_ok else None
        if isinstance(error, ConfigurationError):
            return error
        return TransientError(f"{self._client.peer}: asked for acknowledgements: {self._client.shown(answer)}")


def _sourcetype(form: Format, finding: Finding) -> str:
    return "kmwatch:health" if isinstance(finding, Health) else f"kmwatch:{form.name}"


def _read(answer: Answer) -> _Said:
    try:
        return msgspec.json.decode(answer.body, type=_Said)
    except msgspec.MsgspecError:
        return _Said()
