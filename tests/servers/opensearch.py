"""A real single-node OpenSearch for tests. Its data outlive a stop and a restart.

with OpenSearch(folder) as search:
await search.make_data_stream("findings")
...
documents = await search.documents("findings")
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import aiohttp
import msgspec

from tests.servers.kafka_jars import ServerUnavailableError, jars_of, java

_POM = Path(__file__).with_name("opensearch.xml")
_PATIENCE = 90.0
# The runner takes a base port up to 9298 and serves HTTP on the port after it.
_RUN = """
import org.codelibs.opensearch.runner.OpenSearchRunner;
import static org.codelibs.opensearch.runner.OpenSearchRunner.newConfigs;
public class Run {
    public static void main(String[] a) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.cors.enabled", false);
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
            settings.put("action.auto_create_index", "findings*");
        }).build(newConfigs().basePath(a[0]).numOfNode(1).clusterName("kmwatch").baseHttpPort(Integer.parseInt(a[1])));
        Thread.sleep(Long.MAX_VALUE);
    }
}
"""


def jars() -> Path:
    """The folder of OpenSearch's jars. Raises ServerUnavailableError."""
    return jars_of(_POM, "opensearch-2.18.0", "OpenSearch")


class OpenSearch:
    """One node in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._java, self._jars = java(), jars()
        self._base = random.SystemRandom().randint(9210, 9290)
        self.url = f"http://127.0.0.1:{self._base + 1}"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "Run.java").write_text(_RUN)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and return when it is green or yellow.

        Raises:
            ServerUnavailableError: it ended, or was not ready in time.
        """
        command = [self._java, "-Xmx768m", "-cp", str(self._jars / "*"), str(self._folder / "Run.java")]
        arguments = [str(self._folder / "data"), str(self._base)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + _PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self._folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise ServerUnavailableError(f"OpenSearch did not start: {tail}")
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        try:
            url = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of ours
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    async def make_data_stream(self, name: str) -> None:
        """Make an index template, as an operator would, so that `name` becomes a data stream."""
        body = {
            "index_patterns": [name],
            "data_stream": {},
            "template": {
                "settings": {"number_of_replicas": 0},
                "mappings": {"properties": {"source": {"properties": {"ip": {"type": "ip"}}}}},
            },
        }
        await self._ask("PUT", f"/_index_template/{name}", body)

    async def documents(self, name: str) -> list[Any]:
        """Every document: its `_id` and `_source`."""
        await self._ask("POST", f"/{name}/_refresh", {})
        answer = await self._ask("POST", f"/{name}/_search", {"size": 5000, "query": {"match_all": {}}})
        found: list[Any] = answer["hits"]["hits"]
        return found

    async def _ask(self, method: str, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=msgspec.json.encode(body), headers=headers) as answer,
        ):
            text = await answer.read()
            assert answer.status < 300, text
            return msgspec.json.decode(text)


def main(arguments: Sequence[str]) -> int:
    """`fetch`: have the jars ready."""
    try:
        assert list(arguments) == ["fetch"]
        jars()
    except ServerUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
