"""Alerts to Prometheus Alertmanager, API v2: what pages a person.

Promise: at least once, and only that something of a rule and a severity is there. Alertmanager knows no events: an
alert is its labels, and whatever has the same labels is the same alert. So only rule, severity and what the
configuration adds are labels; ids stand in annotations, where the latest line wins. Send all lines to another sink too.

An alert stays firing for `firing` after its latest line: without endsAt Alertmanager would resolve it after its own
resolve_timeout, five minutes by default. A close is no all-clear ("no longer gathering"), so it is acknowledged here
and sent nowhere; so is a heartbeat.

A bad alert makes 400 while the others of its request are taken [tried, 0.25]. To send those again is harmless, so a
refused batch is halved until the bad one stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kmwatch.clock import Clock
from kmwatch.core.health import Health
from kmwatch.core.model import SECOND, Activity, Finding, Micros
from kmwatch.ports import PermanentError
from kmwatch.sinks.http import HttpClient
from kmwatch.wire.common import iso, leading
from kmwatch.wire.escape import visible

_TEXT = 1023  # characters of an annotation
_IDS = 20  # event ids shown


class AlertmanagerSink:
    """See the module."""

    def __init__(
        self,
        name: str,
        client: HttpClient,
        url: str,
        *,
        clock: Clock,
        firing: Micros,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Take the configured values.

        Args:
            name: of the sink.
            client: makes the requests.
            url: of Alertmanager, with its route prefix if it has one.
            clock: `endsAt` counts from now, since an event may be older than it is to fire.
            firing: for how long.
            labels: further labels, the same for all.
        """
        self.name = name
        self._client, self._url = client, f"{url.rstrip('/')}/api/v2/alerts"
        self._clock, self._firing, self._labels = clock, firing, dict(labels or {})

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver; see the module for what that means."""
        alerts = [self._alert(f) for f in findings if f.activity is not Activity.CLOSE and not isinstance(f, Health)]
        if not alerts:
            return "nothing to send: closes and heartbeats are no alerts"
        body = msgspec.json.encode(alerts)
        answer = await self._client.post(self._url, body, {"Content-Type": "application/json"})
        if not answer.is_ok:
            raise self._client.refusal(answer)
        return self._client.shown(answer)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    def _alert(self, finding: Finding) -> dict[str, object]:
        now = int(self._clock.now() * SECOND)
        try:
            starts = iso(min(finding.time, now))
        except OverflowError as error:
            raise PermanentError(f"alert {visible(finding.line_uid, 80)} cannot be rendered: {error}") from error
        return {
            "labels": {
                **self._labels,
                "alertname": visible(finding.title, _TEXT),
                "rule": visible(finding.rule, _TEXT),
                "service": "key-manager",
                "severity": finding.severity.name.lower(),
            },
            "annotations": self._annotations(finding),
            "startsAt": starts,
            "endsAt": iso(now + self._firing),
        }

    def _annotations(self, finding: Finding) -> dict[str, str]:
        request = leading(finding)
        texts = {
            "summary": finding.message,
            "finding": finding.uid,
            "line": finding.line_uid,
            "activity": finding.activity.name.lower(),
            "reason": finding.reason,
            "caller": finding.caller,
            "user": request.user_id if request else None,
            "address": request.address if request else None,
            "secrets": ",".join([secret.id for secret in finding.secrets[-_IDS:]]),
            "event_ids": ",".join(finding.event_ids[-_IDS:]),
            "events": str(finding.counts.events),
        }
        return {key: visible(text, _TEXT) for key, text in texts.items() if text}
