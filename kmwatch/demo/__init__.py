"""`kmwatch demo`: a recording of a real Key Manager through the real pipeline, with nothing to set up.

File source, SQLite store, terminal and file sinks, /metrics: what runs here is the daemon itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp

from kmwatch.app import App
from kmwatch.clock import SystemClock
from kmwatch.config.load import Loaded, load
from kmwatch.config.sinks import FileSink
from kmwatch.config.stores import Sqlite, Store
from kmwatch.core.model import Activity
from kmwatch.ports import SinkAccount
from kmwatch.telemetry.logs import configure
from kmwatch.telemetry.status import Totals

ALERTS, STORE = "alerts.jsonl", "kmwatch.db"
_HELLO = """\
A recording of a real OpenStack Key Manager (Barbican 23): ordinary traffic of Nova, Cinder, Octavia, Magnum,
Glance and two tenants, and somebody who is after their secrets. kmwatch holds every payload read against the
caller map in config/recording/callers.yaml. Each alert as it comes:

"""


async def demo(folder: Path | None, *, serve: bool) -> None:
    """Run the demo.

    Args:
        folder: where to leave the store and the alerts; by default a new temporary folder.
        serve: go on serving /metrics and /status until interrupted.

    Raises:
        OSError, StoreError: the folder cannot be written.
    """
    configure("warning", "console")
    place = Path(mkdtemp(prefix="kmwatch-demo-")) if folder is None else folder
    if place.exists() and any(place.iterdir()):
        raise OSError(f"{place} is not empty; name a new folder, so that the demo begins at the beginning")
    app = App(_loaded(place), SystemClock())
    sys.stdout.write(_HELLO)
    sys.stdout.flush()

    async def farewell() -> None:
        await _farewell(app, place, serve=serve)

    await app.run(any_port=True, ended=farewell)


def _loaded(place: Path) -> Loaded:
    """The recording's own configuration, with everything it writes in one folder."""
    loaded = load(Path(str(files("kmwatch.demo") / "recording" / "complete.yaml")), os.environ)
    settings = loaded.settings
    sinks = [
        sink if sink.file is None else sink.model_copy(update={"file": FileSink.model_construct(path=place / ALERTS)})
        for sink in settings.sinks
    ]
    store = Store.model_construct(postgres=None, sqlite=Sqlite.model_construct(path=place / STORE))
    settings = settings.model_copy(update={"sinks": tuple(sinks), "store": store})
    return replace(loaded, settings=settings)


async def _farewell(app: App, place: Path, *, serve: bool) -> None:
    account = (await app.status()).account
    at = f"http://127.0.0.1:{app.port}"
    sys.stdout.write(summary(account, (place / ALERTS).read_text(encoding="utf-8").splitlines()))
    sys.stdout.write(f"\nalerts (OCSF): {place / ALERTS}\nstore (SQLite): {place / STORE}\n")
    if serve:
        sys.stdout.write(f"metrics and account: {at}/metrics {at}/status - Ctrl-C ends\n")
        sys.stdout.flush()
        await app.stopped()
    else:
        sys.stdout.write("to look at /metrics and /status too: kmwatch demo --serve\n")
    sys.stdout.flush()


def summary(account: Totals, alerts: Sequence[str]) -> str:
    """What was seen, what was found, and the account, for a person.

    Args:
        account: of the run.
        alerts: OCSF lines.
    """
    records = account.records
    found = Counter(
        (-line["severity_id"], line["severity"], _rule(line))
        for line in map(json.loads, alerts)
        if line["activity_id"] == Activity.CREATE
    )
    rejected, ignored = sum(records.rejected.values()), sum(records.ignored.values())
    told = f"{records.consumed:,} records told of {account.events.evaluated:,} requests;"
    done = f"{records.joined:,} joined + {records.duplicate:,} duplicate + {ignored:,} ignored + {rejected:,} rejected"
    verdict = "balances" if account.balanced else "DOES NOT BALANCE: please report this"
    lines = [
        "",
        f"{told} {sum(found.values())} findings in {len(alerts)} lines.",
        "",
        *(f"  {severity:<9} {rule:<40} {n:>4}" for (_, severity, rule), n in sorted(found.items())),
        "",
        "Did you miss anything?",
        f"  records  {records.consumed:,} = {done} + {records.waiting:,} waiting",
        *(f"  {name:<8} {_sink(sink)}" for name, sink in account.sinks.items()),
        f"  the account {verdict}",
        "",
    ]
    return "\n".join(lines)


def _sink(sink: SinkAccount) -> str:
    return f"{sink.routed:,} lines = {sink.delivered:,} delivered + {sink.pending:,} pending + {sink.dead:,} dead"


def _rule(line: dict[str, dict[str, dict[str, str]]]) -> str:
    analytic = line["finding_info"]["analytic"]
    return f"{analytic['uid']} {analytic['name']}"
