"""A real single-node Apache Kafka (KRaft) for tests: starts, stops, dies and comes back on demand.

    with KafkaServer(folder) as kafka:
        topic = await kafka.create_topic(partitions=4)
        await kafka.produce(topic, 0, [b"a", b"b"])

Starting and stopping block their thread for seconds. A test whose clients live on through a restart calls
`await asyncio.to_thread(kafka.restart)`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.servers.kafka_client import KafkaClient
from tests.servers.kafka_config import Scram, broker_properties
from tests.servers.kafka_jars import ServerUnavailableError, jars, java
from tests.servers.ports import free_port

_RECORDING = Path(__file__).parents[2] / "config" / "recording" / "cadf.jsonl.gz"
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0


class KafkaServer(KafkaClient):
    """One broker, its ports and its data, which outlive a stop, a kill and a restart.

    Args:
        folder: an empty folder for the broker's data, configuration and log.
        scram: opens a second listener, SASL_SSL with SCRAM-SHA-512, for this user (`secure_bootstrap`).
        properties: more broker properties, or other values for those this harness sets.
    """

    def __init__(
        self, folder: Path, *, scram: Scram | None = None, properties: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.scram = scram
        super().__init__(f"127.0.0.1:{free_port()}")
        self.secure_bootstrap = f"localhost:{free_port()}"
        self._controller = f"127.0.0.1:{free_port()}"
        self._classpath = str(jars() / "*")
        self._java = java()
        self._process: subprocess.Popen[bytes] | None = None
        self._format(dict(properties or {}))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and return when it answers a client.

        Raises:
            ServerUnavailableError: it ended, or did not answer in a minute; the message has its log's end.
        """
        assert not self.running, "the broker runs already"
        # The least of a JVM: one that lives for one test run gains nothing from optimising compilers.
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command = [self._java, *options, "-cp", self._classpath, "kafka.Kafka", str(self._properties_file)]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the broker in good order, as an operator would (SIGTERM); by force if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the broker at once, as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop in good order and start on the same ports and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing answers, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    @property
    def _log_file(self) -> Path:
        return self.folder / "server.log"

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the broker does not run"
        self._process.send_signal(number)

    def _format(self, overrides: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        secure = self.secure_bootstrap if self.scram else None
        properties = broker_properties(self.bootstrap, self._controller, secure, self.folder / "data")
        if self.scram is not None:
            properties |= self.scram.broker_properties(self.folder)
        properties |= overrides
        self._properties_file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        arguments = ["-t", self._storage_tool("random-uuid").strip().splitlines()[-1]]
        if self.scram is not None:
            arguments += ["--add-scram", self.scram.storage_entry]
        self._storage_tool("format", *arguments, "-c", str(self._properties_file))

    def _storage_tool(self, *arguments: str) -> str:
        return self._tool("kafka.tools.StorageTool", *arguments)

    def _tool(self, name: str, *arguments: str) -> str:
        """One of Kafka's own commands; what it prints."""
        command = [self._java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", self._classpath, name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerUnavailableError(f"Kafka's {name} {arguments} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        host, port = self.bootstrap.split(":")
        while not self._accepts(host, int(port)):
            if not self.running or time.monotonic() > deadline:
                raise ServerUnavailableError(self._story("did not start"))
            time.sleep(0.05)
        # In a thread of its own, so that a test inside an event loop may start a broker too.
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(asyncio.run, self._answers(deadline)).result()
        if not answered:
            raise ServerUnavailableError(self._story("does not answer"))

    @staticmethod
    def _accepts(host: str, port: int) -> bool:
        try:
            with socket.create_connection((host, port), timeout=1):
                return True
        except OSError:
            return False

    async def _answers(self, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                await admin.start()
                cluster = await admin.describe_cluster()
            except KafkaError:
                await asyncio.sleep(0.1)
            else:
                if cluster["brokers"]:
                    return True
            finally:
                await admin.close()
        return False

    def _story(self, what: str) -> str:
        tail = "\n".join(self._log_file.read_text(errors="replace").splitlines()[-30:])
        return f"Apache Kafka in {self.folder} {what}; its log ends:\n{tail}"


async def _hold_recording(bootstrap: str) -> str:
    """The bundled recording's audit records on the topic that a Key Manager writes to; what to say of it."""
    client = KafkaClient(bootstrap)
    topic = await client.create_topic("notifications.info", partitions=4)
    by_partition: dict[int, list[bytes]] = {}
    with gzip.open(_RECORDING) as lines:
        for record in map(json.loads, lines):
            by_partition.setdefault(record["partition"], []).append(record["value"].encode())
    for partition, values in sorted(by_partition.items()):
        await client.produce(topic, partition, values)
    return f"; its topic {topic} holds the bundled recording"


def main(arguments: Sequence[str]) -> int:
    """`fetch`: have the jars ready. `run`: a broker in the foreground, its data gone when it ends.

    `run --recording`: the same with the bundled recording's audit records on a topic.
    """
    try:
        jars()
        if list(arguments) == ["fetch"]:
            return 0
        with tempfile.TemporaryDirectory(prefix="kafka-") as folder, KafkaServer(Path(folder)) as kafka:
            holds = asyncio.run(_hold_recording(kafka.bootstrap)) if "--recording" in arguments else ""
            sys.stdout.write(f"Apache Kafka answers on {kafka.bootstrap}{holds}; Ctrl-C ends it, data and all\n")
            sys.stdout.flush()
            ends = {signal.SIGINT, signal.SIGTERM}
            signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # only now: the broker would inherit the mask
            signal.sigwait(ends)
    except ServerUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
