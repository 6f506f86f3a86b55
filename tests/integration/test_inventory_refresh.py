"""The inventory is read again while the daemon runs; what cannot be read changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.daemon import RECORDING, Config, Daemon, configuration, file_sink


def test_a_new_inventory_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    records, inventory = tmp_path / "records.jsonl", tmp_path / "inventory.jsonl"
    shutil.copy(RECORDING / "inventory.jsonl", inventory)
    records.touch()
    source: Config = {"file": {"paths": [str(records)], "follow": True}}
    read = {"file": str(inventory), "refresh": "1s"}
    with Daemon(tmp_path, configuration(tmp_path, source, [file_sink(tmp_path)], inventory=read)) as daemon:
        daemon.start()
        daemon.wait_until_ready()
        before = daemon.status().declarations
        fresh = '{"id": "fresh", "name": "lb-key-1", "secret_type": "private"}\n'
        inventory.write_text(inventory.read_text(encoding="utf-8") + fresh, encoding="utf-8")
        daemon.wait_until(lambda status: status.declarations != before, "the new inventory is in effect")
        after = daemon.status().declarations
        inventory.write_text("{\n", encoding="utf-8")
        daemon.wait_for_log("inventory_failed")
        assert daemon.status().declarations == after
        assert daemon.terminate() == 0
