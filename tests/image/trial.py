"""What must be so of the image, each tried on the image itself."""

from __future__ import annotations

import gzip
import json
import shutil
import ssl
import stat
import time
import urllib.request
from pathlib import Path
from typing import Any

import trustme
import yaml

from kmwatch import __version__
from tests.image.build import CHECKOUT, inspected
from tests.image.inside import USER, Inside
from tests.servers.ports import free_port

RECORDING = CHECKOUT / "config" / "recording"
LOGS = ("cadf.jsonl", "service.log", "haproxy.log", "uwsgi.log")
TOKEN = "a-token-of-the-monitoring-system"
HEALTH = ["kmwatch", "health", "-c", "/etc/kmwatch/kmwatch.yaml"]
_PATIENCE = 240.0


def says_what_it_is(_: Inside) -> str:
    """Labels, user, health check and what it runs, as an engine reads them."""
    config = inspected()
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["kmwatch"]
    assert config["Cmd"] == ["run", "-c", "/etc/kmwatch/kmwatch.yaml"]
    assert config["Healthcheck"]["Test"] == ["CMD", *HEALTH]
    assert set(config["ExposedPorts"]) == {"9464/tcp"}
    assert set(config["Volumes"]) == {"/var/lib/kmwatch"}
    return f"revision {labels['org.opencontainers.image.revision'][:12]}, user {config['User']}, health check, labels"


def lists_what_is_in_it(inside: Inside) -> str:
    """The SBOM names every package that is installed, and no other."""
    bom = json.loads((inside.root / "opt/kmwatch/sbom.cdx.json").read_text(encoding="utf-8"))
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == "kmwatch"
    told = {f"{part['name']}=={part['version']}" for part in bom["components"]}
    there = {
        f"{name}=={version}"
        for path in (inside.root / "opt/kmwatch/lib").rglob("*.dist-info")
        for name, version in [_named(path / "METADATA")]
    }
    assert told | {f"kmwatch=={__version__}"} == there | {f"kmwatch=={__version__}"}
    assert not {name.partition("==")[0] for name in there} & {"pip", "setuptools"}
    return f"CycloneDX {bom['specVersion']}, {len(told)} packages, as installed"


def gives_its_user_nothing_to_write(inside: Inside) -> str:
    """Not a file or folder of the image belongs to its user but its state folder; none of ours raises rights."""
    wrong = [
        str(path)
        for path in inside.root.rglob("*")
        if (path.lstat().st_uid == USER or (path.is_relative_to(inside.root / "opt") and path.lstat().st_mode & 0o6002))
        and not path.is_symlink()
        and path != inside.root / "var/lib/kmwatch"
    ]
    assert wrong == []
    code, said = inside.run("touch", "/opt/kmwatch/x", "/var/x", "/x")
    assert code != 0
    assert said.count("Read-only file system") == 3, said
    code, said = inside.run("sh", "-c", "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status")
    assert (code, said.split()) == (0, [str(USER), "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]), said
    return f"uid {USER}, no capability, no new privileges; the root is read-only"


def runs_the_demo(inside: Inside) -> str:
    """`kmwatch demo`, with /tmp alone to write to."""
    code, said = inside.run("kmwatch", "demo", "--dir", "/tmp/demo")  # noqa: S108  (within)
    assert code == 0, said
    assert "the account balances" in said
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("records"))


def watches_with_tls_and_token(inside: Inside) -> str:
    """The daemon on the recording, the health check of the image beside it, and a stop in order."""
    number, context, port = _configured(inside)
    code, said = inside.run(*HEALTH)
    assert code == 3, said  # nobody is there yet
    daemon = inside.start("kmwatch", "run", "-c", "/etc/kmwatch/kmwatch.yaml")
    try:
        status = _watched(daemon, context, port, number)
        assert inside.run(*HEALTH)[0] == 0
        code, said = inside.run(*HEALTH, "--ready")
        assert code == 0, said
    finally:
        daemon.terminate()
        said, _ = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, said
    files = {path.name: path.stat() for path in inside.state.iterdir()}
    assert {"kmwatch.db", "alerts.jsonl"} <= files.keys()
    assert {(stat.S_IMODE(found.st_mode), found.st_uid) for found in files.values()} == {(0o600, USER)}
    assert status["account"]["balanced"] is True
    assert TOKEN not in said
    return f"{number:,} records consumed, account balances, health check 3 before and 0 while it ran, exit 0"


def _configured(inside: Inside) -> tuple[int, ssl.SSLContext, int]:
    """A configuration with the whole recording; how many records, whom to trust, and the port."""
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("127.0.0.1")
    (inside.config / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (inside.config / "tls.key").write_bytes(issued.private_key_pem.bytes())
    (inside.config / "token").write_text(TOKEN)
    for name in ("callers.yaml", "identities.json", "inventory.jsonl"):
        shutil.copy(RECORDING / name, inside.config)
    number = 0
    for name in LOGS:
        lines = gzip.decompress((RECORDING / f"{name}.gz").read_bytes())
        (inside.config / name).write_bytes(lines)
        number += lines.count(b"\n")
    config: dict[str, Any] = yaml.safe_load((RECORDING / "complete.yaml").read_text(encoding="utf-8"))
    config["sources"] = [{"file": {"paths": list(LOGS), "follow": True}}]
    config["store"] = {"sqlite": {"path": "/var/lib/kmwatch/kmwatch.db"}}
    config["sinks"] = [{"name": "archive", "file": {"path": "/var/lib/kmwatch/alerts.jsonl"}}]
    config["http"] = {"listen": f"127.0.0.1:{port}", "token": "file:token", "cert": "tls.crt", "key": "tls.key"}
    (inside.config / "kmwatch.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return number, context, port


def _watched(daemon: object, context: ssl.SSLContext, port: int, number: int) -> dict[str, Any]:
    """/status, when all is consumed."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    asked = urllib.request.Request(f"https://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + _PATIENCE
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            with opener.open(asked, timeout=10) as answer:
                status = json.loads(answer.read())
        except OSError:
            time.sleep(0.5)
            continue
        if sum(part["consumed"] for name, part in status["account"]["streams"].items() if "/etc/" in name) == number:
            return status
        time.sleep(0.5)
    raise AssertionError(f"not all is consumed: {status.get('account', daemon)}")


def _named(metadata: Path) -> tuple[str, str]:
    lines = metadata.read_text(encoding="utf-8").splitlines()
    found = dict(line.split(": ", 1) for line in lines[:20] if line.startswith(("Name: ", "Version: ")))
    return found["Name"], found["Version"]


TRIALS = (
    says_what_it_is,
    lists_what_is_in_it,
    gives_its_user_nothing_to_write,
    runs_the_demo,
    watches_with_tls_and_token,
)
