"""Alerts to a webhook, signed as standard-webhooks 1.0 says: one request for each line.

Promise: at least once, with an id (`webhook-id`, the line's) that stays the same over all attempts, so a receiver that
remembers ids has each line once. The timestamp is new for each attempt, since receivers refuse old ones.

2xx is success. 3xx is not followed: it would take the signature elsewhere. 410 means that the receiver wants no more
and pauses the sink, as 3xx and other 4xx do; 400, 413 and 422 set the line aside.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from itertools import groupby

from kmwatch.clock import Clock
from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError, PartialError, PermanentError, TransientError
from kmwatch.sinks.http import HttpClient
from kmwatch.wire.formats import format_named, render_all

_SECONDS = 20.0  # of one send; what is left is sent by the next, and what is done stays done
_AT_ONCE = 8  # findings whose lines are under way together
_MOST = 1 << 20  # octets of a body
_PREFIX = "whsec_"


class WebhookSink:
    """See the module. Lines of one finding go in order, one after the other."""

    def __init__(
        self,
        name: str,
        client: HttpClient,
        url: str,
        key: bytes,
        *,
        clock: Clock,
        format: str = "ocsf",  # noqa: A002 - the configuration's word
    ) -> None:
        """Take the configured values.

        Args:
            name: of the sink.
            client: makes the requests.
            url: of the receiver, whole; may be a secret.
            key: signs; see `signing_key`.
            clock: for the timestamp of each attempt.
            format: ocsf or ecs.

        Raises:
            ValueError: the format is no JSON.
        """
        self.name = name
        self._client, self._url, self._key, self._clock = client, url, key, clock
        self._format = format_named(format)
        if not self._format.is_json:
            raise ValueError(f"format {format} is no JSON")

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver; see the module for what that means."""
        bodies = render_all(lambda finding: self._format.render(finding, _MOST), findings)
        run = _Run(self, findings, bodies, asyncio.get_running_loop().time() + _SECONDS)
        order = sorted(range(len(findings)), key=lambda place: findings[place].uid)
        queue = [list(places) for _, places in groupby(order, key=lambda place: findings[place].uid)]
        queue.sort(key=min, reverse=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(queue))):
                group.create_task(run.work(queue))
        again = set(range(len(findings))) - run.accepted - run.refused.keys()
        if len(findings) == 1 and run.refused:
            raise PermanentError(run.refused[0])
        if run.cause is not None and not run.accepted and not run.refused:
            raise run.cause
        if again or run.refused:
            raise PartialError(run.refused, again, run.cause)
        return run.said

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    async def post(self, finding: Finding, body: bytes) -> str:
        """One signed request; returns what the receiver said."""
        uid, at = finding.line_uid.replace(".", "_"), int(self._clock.now())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": uid,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._key, uid, at, body),
        }
        answer = await self._client.post(self._url, body, headers)
        if not answer.is_ok:
            raise self._client.refusal(answer)
        return self._client.shown(answer)


class _Run:
    """One send: what became of each line, by its place."""

    def __init__(
        self, sink: WebhookSink, findings: Sequence[Finding], bodies: Sequence[bytes], deadline: float
    ) -> None:
        self._sink, self._findings, self._bodies, self._deadline = sink, findings, bodies, deadline
        self.accepted: set[int] = set()
        self.refused: dict[int, str] = {}
        self.cause: TransientError | ConfigurationError | None = None
        self.said: str | None = None

    async def work(self, queue: list[list[int]]) -> None:
        """Take findings off the queue until it is empty, time is up, or something stands in the way of all."""
        while queue:
            for place in queue.pop():
                if self._is_over():
                    return
                await self._one(place)

    def _is_over(self) -> bool:
        return self.cause is not None or asyncio.get_running_loop().time() > self._deadline

    async def _one(self, place: int) -> None:
        try:
            self.said = await self._sink.post(self._findings[place], self._bodies[place])
            self.accepted.add(place)
        except PermanentError as error:
            self.refused[place] = str(error)
        except (TransientError, ConfigurationError) as error:
            self.cause = error


def signing_key(secret: str) -> bytes:
    """The key within a secret: base64, with or without `whsec_`; 24 to 64 octets, as the standard asks.

    Raises:
        ValueError: it is none. The message does not repeat it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - standard-webhooks, "Signature scheme"
        raise ValueError("must be whsec_ and 24 to 64 random octets in base64 (openssl rand -base64 32)")
    return key


def signature(key: bytes, uid: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body`, as the header wants it."""
    digest = hmac.new(key, f"{uid}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
