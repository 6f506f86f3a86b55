"""Findings to send: one of ordinary life, one whose every text an attacker chose, and a strategy for any."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.health import Health, Report, WitnessSeen, heartbeat
from kmwatch.core.model import (
    Activity,
    AddressSource,
    Citation,
    Counts,
    Finding,
    Kind,
    Mode,
    Nearest,
    Secret,
    Severity,
)

TIME = 1_795_477_919_482_137  # 2026-11-23T23:51:59.482137Z
HOSTILE = 'x\x1b[2J\r\n\u202e<14>1 forged\x00\x85\u2028|=\\ "] a=b src=6.6.6.6 \U000e0041 é中\ufeff end'


def citation(number: int = 1) -> Citation:
    """An ordinary request, told apart by its number."""
    return Citation(
        event_id=f"event-{number:04d}",
        event_time=TIME,
        kind=Kind.RETRIEVAL,
        operation=f"GET /v1/secrets/5ec4e7-{number:04d}/payload",
        status=200,
        request_id=f"req-{number:04d}",
        user_id="ff38bc60",
        user_name="alice",
        project_id="a1b2c3",
        address="203.0.113.9",
        address_source=AddressSource.PROXY,
        agent="python-barbicanclient",
        target_type="secret",
        target_id=f"5ec4e7-{number:04d}",
        flags=("address_unproven",),
    )


def finding(number: int = 1, *, citations: int = 1) -> Finding:
    """An ordinary finding; `number` makes its ids unique."""
    cited = tuple(citation(number * 1000 + n) for n in range(citations))
    return Finding(
        uid=f"finding-{number}",
        line_uid=f"line-{number}",
        activity=Activity.CREATE,
        rule="KMW-001",
        rule_version=3,
        title="unexplained-read",
        severity=Severity.HIGH,
        mode=Mode.ENFORCE,
        time=TIME,
        start_time=TIME - 5_000_000,
        end_time=TIME,
        message="alice read secret lb-cert from 203.0.113.9, which no declaration allows",
        reason="network",
        declaration=None,
        nearest=Nearest("octavia-lb", "networks", "10.20.0.0/24", "203.0.113.9"),
        caller="octavia",
        counts=Counts(events=citations, secrets=citations, addresses=1),
        citations=cited,
        event_ids=tuple(c.event_id for c in cited),
        secrets=tuple(
            Secret(str(c.target_id), "lb-cert", "certificate", "0b5e55ed", "c4ea704", containers=("c1",)) for c in cited
        ),
        techniques=("T1555.006", "T1098"),
        flags=("late",),
    )


def hostile(number: int = 1, text: str = HOSTILE) -> Finding:
    """A finding in which an attacker chose everything that an attacker can choose."""
    base = finding(number)
    cited = replace(
        base.citations[0],
        operation=f"GET /v1/secrets/{text}",
        request_id=text,
        user_id=text,
        user_name=text,
        project_id=text,
        address=text,
        agent=text,
        target_id=text,
    )
    return replace(
        base,
        message=f"somebody read {text}",
        nearest=Nearest("octavia-lb", "networks", "10.20.0.0/24", text),
        citations=(cited,),
        secrets=(Secret(text, text, text, text, text),),
    )


texts = st.text(st.characters(), max_size=60) | st.just(HOSTILE)  # every code point, lone surrogates too
hostile_findings = st.builds(hostile, st.integers(1, 99), texts)


def beat(number: int = 1, text: str = "sink siem: retrying: away") -> Health:
    """A heartbeat; `text` is a problem that a receiver may have worded."""
    report = Report(
        build="0.1.0",
        ready=False,
        last_event=TIME,
        lag=7,
        consumed=10,
        ignored=2,
        rejected=1,
        duplicate=1,
        joined=5,
        waiting=1,
        balanced=True,
        pending=3,
        dead=0,
        witnesses=(WitnessSeen("cadf", TIME), WitnessSeen("proxy_log", None)),
        problems=(text,),
    )
    return heartbeat(report, TIME + number, "host:1")
