"""What is told before all witnesses were heard leaves the address open, and with it every network condition."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kmwatch import assembly
from kmwatch.core.model import SECOND, Reason
from kmwatch.core.record import AuditRecord
from tests.support.audit import START, halves, merge, step
from tests.support.files import Files


def read(number: int, address: str) -> tuple[AuditRecord, AuditRecord]:
    """A read by octavia, in the order of time."""
    at = START + number * SECOND
    one, other = halves(number, at=at, user="1", path="/v1/secrets/s1/payload", address=address)
    return one, replace(other, observed_time=at + SECOND // 10)


@pytest.mark.parametrize("witness", ["service_log", "access_log", "proxy_log"])
def test_a_read_from_a_declared_network_breaks_nothing_while_another_witness_is_waited_for(
    tmp_path: Path, witness: str
) -> None:
    files = Files(tmp_path)
    files.settings += f"witnesses: {{cadf: required, {witness}: expected}}\n"
    files.callers = files.callers.replace("[{name: octavia}]", "[{name: octavia}], networks: [10.20.0.0/24]")
    loaded = files.load()
    engine = assembly.engine(loaded.settings, loaded.declarations)
    records = [record for number in range(90) for record in read(number, "10.66.0.9" if number == 9 else "10.20.0.7")]
    outputs = [step(engine, [("a", record)]) for record in records]
    outputs.append(step(engine, [], ["a"]))
    told = merge(outputs)
    broken = [event_id for line in told.findings if line.rule == "KMW-002" for event_id in line.event_ids]
    assert set(broken) == {"api:req-9"}
    verdicts = {judged.event.event_id: judged.match for judged in told.judged}
    assert verdicts["api:req-1"] is not None
    assert verdicts["api:req-1"].reason is Reason.DECLARED
