# ruff: noqa: T201
"""`./dev bench-delivery rates|latency|outage`: what delivery can carry, how long it takes, what an outage costs.

rates    findings a second through each sink, from an outbox on disk to the receiver's acknowledgement
latency  from a record's production to the acknowledgement of what it triggered, at a steady rate
outage   memory and disk of the daemon while records pass and its only sink is away
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from kmwatch.delivery import Delivery
from kmwatch.ports import Commit, Routed, Sink
from kmwatch.sinks.file import FileSink
from kmwatch.sinks.kafka import KafkaSink
from kmwatch.sinks.opensearch import OpenSearchSink
from kmwatch.sinks.stdout import StdoutSink
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.store.sqlite import SqliteStore
from tests.bench.__main__ import _cited
from tests.bench.latency import latency
from tests.bench.receiver import receiver
from tests.bench.records import records
from tests.fault.test_matrix import Reports
from tests.servers.alertmanager import Alertmanager
from tests.servers.fakes import TOKEN
from tests.servers.kafka import KafkaServer
from tests.servers.opensearch import OpenSearch
from tests.servers.ports import free_port
from tests.servers.rsyslog import Rsyslog
from tests.servers.syslog_ng import SyslogNg
from tests.support import httpsinks
from tests.support.daemon import Config, Daemon, configuration, kafka_source
from tests.support.findings import finding

# ------------------------------------------------------------------------------------------------------------ rates


def rates(count: int) -> None:
    """Findings a second through each sink."""
    print(f"{count} findings of {len(msgspec.json.encode(finding()))} octets in the outbox each, batches of 100:")
    with TemporaryDirectory(prefix="kmwatch-bench-") as name:
        for sink, made in _sinks(Path(name)):
            rate = asyncio.run(_rate(Path(name) / f"{sink}.db", made, count))
            print(f"  {sink:<28} {rate:10,.0f} findings/s", flush=True)


def _sinks(folder: Path) -> Iterator[tuple[str, Callable[[], Sink]]]:
    """Each sink while its receiver is there."""
    yield "file (fsync a batch)", lambda: FileSink("s", folder / "alerts.jsonl")
    with open(os.devnull, "w", encoding="utf-8") as null:  # noqa: PTH123 - a device
        yield "stdout (/dev/null)", lambda: StdoutSink("s", format="ocsf", stream=null)
    with Rsyslog(_new(folder, "rsyslog")) as rsyslog:
        yield "syslog tcp (rsyslog)", lambda: SyslogSink("s", rsyslog.tcp, max_bytes=60_000)
        yield "syslog tls (rsyslog)", lambda: SyslogSink("s", rsyslog.tls, ca=rsyslog.ca, max_bytes=60_000)
    with SyslogNg(_new(folder, "syslog-ng")) as ng:
        yield (
            "syslog mutual tls (syslog-ng)",
            lambda: SyslogSink(
                "s", ng.address, ca=ng.ca, cert=ng.client_cert, key=ng.client_key, max_bytes=60_000, format="cef"
            ),
        )
    with KafkaServer(_new(folder, "kafka")) as kafka:
        topic = asyncio.run(kafka.create_topic(partitions=4))
        yield "kafka (Apache Kafka 4.2)", lambda: KafkaSink("s", [kafka.bootstrap], topic)
    with OpenSearch(_new(folder, "opensearch")) as search:
        asyncio.run(search.make_data_stream("findings-bench"))
        yield (
            "opensearch (OpenSearch 2.18)",
            lambda: OpenSearchSink("s", httpsinks.client(search.url), search.url, "findings-bench"),
        )
    with Alertmanager(_new(folder, "alertmanager")) as pager:
        yield "alertmanager (0.25)", lambda: httpsinks.alertmanager(pager.url)
    with receiver("splunk") as url:
        yield "splunk_hec (fake)", lambda: httpsinks.hec(url)
    with receiver("splunk-ack") as url:
        yield "splunk_hec, ack (fake)", lambda: httpsinks.hec(url, ack=True, ack_timeout=60.0, patience=30.0)
    with receiver("webhook") as url:
        yield "webhook (fake)", lambda: httpsinks.webhook(url)


def _new(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    return place


async def _rate(path: Path, make: Callable[[], Sink], count: int) -> float:
    store, sink = SqliteStore(path, "bench", time.time), make()
    await store.claim()
    base = finding()
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        routed = [Routed(replace(base, uid=f"f-{n % 997}", line_uid=f"line-{n}"), (sink.name,)) for n in numbers]
        await store.commit(Commit([], [], routed, []))
    delivery = Delivery(store, [sink], Reports(), now=lambda: 0)
    began = time.perf_counter()
    delivery.start()
    while store.backlog():  # noqa: ASYNC110 - seen from outside
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - began
    await delivery.stop()
    await sink.close()
    await store.close()
    return count / seconds


# ----------------------------------------------------------------------------------------------------------- outage


def outage(count: int) -> None:
    """Memory and disk while records pass and the sink is away."""
    with TemporaryDirectory(prefix="kmwatch-bench-") as name:
        folder = Path(name)
        with KafkaServer(folder / "kafka") as kafka:
            topic = asyncio.run(kafka.create_topic(partitions=4))
            asyncio.run(_fill(kafka, topic, count, _cited(folder)))
            away: Config = {
                "name": "splunk",
                "splunk_hec": {"url": f"http://localhost:{free_port()}", "token": TOKEN},
                "required": False,
            }
            config = configuration(folder, kafka_source(kafka.bootstrap, topic), [away])
            with Daemon(folder, config) as daemon:
                daemon.start()
                daemon.wait_until_ready()
                _until_read(daemon, count)
                status = Path(f"/proc/{daemon.pid}/status").read_text()
                account = daemon.status().account.sinks["splunk"]
                daemon.terminate()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        disk = sum(path.stat().st_size for path in folder.glob("kmwatch.db*")) / 1e6
        print(
            f"{count} records with the only sink away: {account.pending} lines wait"
            f" ({account.pending_bytes / 1e6:.1f} MB), peak memory {peak:.0f} MB, store on disk {disk:.1f} MB"
        )


def _until_read(daemon: Daemon, count: int) -> None:
    while daemon.status().account.records.consumed < count:
        time.sleep(0.5)


async def _fill(kafka: KafkaServer, topic: str, count: int, cited: frozenset[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type="lz4", linger_ms=20)
    await producer.start()
    for partition, value in records(count, cited):
        await producer.send(topic, value, partition=partition)
    await producer.stop()


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="dev bench-delivery", description=__doc__)
    parser.add_argument("what", choices=("rates", "latency", "outage"))
    parser.add_argument("--findings", type=int, default=5000, help="for rates")
    parser.add_argument("--rate", type=int, nargs="*", default=[1000], help="records a second, for latency")
    parser.add_argument("--seconds", type=int, default=30, help="for latency")
    parser.add_argument("--rounds", type=int, default=3, help="for latency")
    parser.add_argument("--lateness", default="0s", help="timing.lateness and settle, for latency")
    parser.add_argument("--records", type=int, default=864_000, help="for outage; a day at ten a second")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    if given.what == "rates":
        rates(given.findings)
    elif given.what == "latency":
        latency(given.rate, given.seconds, given.rounds, given.lateness)
    else:
        outage(given.records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
