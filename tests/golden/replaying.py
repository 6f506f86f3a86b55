"""A replay of the bundled recording, and its digest: what the golden files hold.

    python -m tests.golden.replaying    writes tests/golden/recording/{summary.json,events.tsv} anew

Look at the difference before you commit it: each line of events.tsv that changes is a verdict that changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct

from kmwatch.config.load import Loaded, load
from kmwatch.replay import Summary, replay
from tests.support.audit import RECORDING

HERE = Path(__file__).parent
GOLDEN = HERE / "recording"
RECORDED = RECORDING / "cadf.jsonl.gz"


class Replayed(Struct, frozen=True):
    """The bytes that a replay wrote, and its account."""

    events: bytes
    alerts: bytes
    summary: Summary


def configuration() -> Loaded:
    """The configuration that goes with the recording."""
    return load(RECORDING / "kmwatch.yaml", {})


async def run(loaded: Loaded, paths: Sequence[Path], folder: Path) -> Replayed:
    """Replay files through the production path."""
    events, alerts = folder / "events.jsonl", folder / "alerts.jsonl"
    summary = await replay(loaded, [str(path) for path in paths], events=events, alerts=alerts)
    return Replayed(events.read_bytes(), alerts.read_bytes(), summary)


def lines(content: bytes) -> list[Any]:
    """The objects of JSON lines."""
    return [json.loads(line) for line in content.splitlines()]


def table(events: bytes) -> str:
    """One line an event: its id, kind, outcome with status, flags, and the verdict's reason or "-"."""
    out = []
    for event in lines(events):
        verdict = event["verdict"] or {"reason": "-"}
        flags = ",".join(event["flags"]) or "-"
        told = (event["event_id"], event["kind"], event["outcome"], event["status"], flags, verdict["reason"])
        out.append("\t".join(map(str, told)))
    return "\n".join(sorted(out)) + "\n"


def summary(replayed: Replayed) -> dict[str, object]:
    """Counts, and a digest of the events and of each detection's alerts."""
    events, alerts = lines(replayed.events), lines(replayed.alerts)
    verdicts = Counter(event["verdict"]["reason"] for event in events if event["verdict"])
    by_rule: dict[str, list[Any]] = {}
    for alert in alerts:
        del alert["metadata"]["product"]["version"]  # a release alone changes no finding
        by_rule.setdefault(alert["finding_info"]["analytic"]["uid"], []).append(alert)
    account = replayed.summary
    return {
        "records": {"consumed": account.records.consumed, "joined": account.records.joined},
        "events": {"count": len(events), "kinds": _counts(event["kind"] for event in events)},
        "verdicts": dict(sorted(verdicts.items())),
        "events_digest": _digest(events),
        "hits": account.findings.hits,
        "suppressed": account.findings.suppressed,
        "alerts": {
            rule: {"lines": _counts(alert["activity_name"] for alert in found), "digest": _digest(found)}
            for rule, found in sorted(by_rule.items())
        },
    }


def _counts(items: Any) -> dict[str, int]:  # noqa: ANN401
    return dict(sorted(Counter(items).items()))


def _digest(objects: list[Any]) -> str:
    text = "\n".join(json.dumps(one, sort_keys=True) for one in objects)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def main() -> None:
    """Write the golden files anew."""
    with TemporaryDirectory() as folder:
        replayed = asyncio.run(run(configuration(), [RECORDED], Path(folder)))
    (GOLDEN / "events.tsv").write_text(table(replayed.events))
    (GOLDEN / "summary.json").write_text(json.dumps(summary(replayed), indent=1) + "\n")


if __name__ == "__main__":
    main()
