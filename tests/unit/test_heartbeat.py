"""Who sends heartbeats, and when: time is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from kmwatch.core.health import Health
from kmwatch.core.model import SECOND
from kmwatch.ports import StoreError
from kmwatch.telemetry import heartbeat
from tests.support.findings import beat


class World:
    """A clock that each look of the loop moves on by a second, and what was handed to sinks."""

    def __init__(self, rhythm: Mapping[str, int], *, active: bool = True) -> None:
        self.rhythm, self.active, self.trouble = dict(rhythm), active, False
        self.seconds = 0
        self.sent: list[tuple[int, str, Health | None]] = []

    def now(self) -> float:
        raise AssertionError("the wall clock has no say here")

    def monotonic(self) -> float:
        return float(self.seconds)

    async def make(self) -> Health:
        if self.trouble:
            raise StoreError("away")
        return beat(self.seconds)

    async def run(self, monkeypatch: pytest.MonkeyPatch, *, until: int) -> None:
        """Look once in each second; `at` may be overridden to change the world between two looks."""

        async def sleep(_: float) -> None:
            self.seconds += 1
            if self.seconds > until:
                raise asyncio.CancelledError
            self.at(self.seconds)

        monkeypatch.setattr("kmwatch.telemetry.heartbeat.asyncio.sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await heartbeat.beats(
                lambda: {name: every * SECOND for name, every in self.rhythm.items()},
                self.make,
                lambda name, health: self.sent.append((self.seconds, name, health)),
                lambda: self.active,
                self,
            )

    def at(self, second: int) -> None:
        """What happens in this second."""

    def beats(self) -> list[tuple[int, str]]:
        return [(second, name) for second, name, health in self.sent if health is not None]


async def test_each_sink_has_a_rhythm_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"often": 2, "seldom": 5})
    await world.run(monkeypatch, until=11)
    assert [second for second, name in world.beats() if name == "often"] == [3, 5, 7, 9, 11]
    assert [second for second, name in world.beats() if name == "seldom"] == [6, 11]


async def test_a_standby_says_nothing_and_takes_back_what_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"siem": 2}, active=False)
    await world.run(monkeypatch, until=20)
    assert world.beats() == []
    assert {health for _, _, health in world.sent} == {None}


async def test_whoever_takes_over_speaks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class TakesOver(World):
        def at(self, second: int) -> None:
            self.active = second >= 8

    world = TakesOver({"siem": 5}, active=False)
    await world.run(monkeypatch, until=14)
    assert world.beats() == [(8, "siem"), (13, "siem")]


async def test_whoever_steps_down_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    class StepsDown(World):
        def at(self, second: int) -> None:
            self.active = second < 8

    world = StepsDown({"siem": 3})
    await world.run(monkeypatch, until=20)
    assert world.beats() == [(4, "siem"), (7, "siem")]


async def test_trouble_of_the_store_costs_one_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trouble(World):
        def at(self, second: int) -> None:
            self.trouble = second == 5

    world = Trouble({"siem": 2})
    await world.run(monkeypatch, until=7)
    assert world.beats() == [(3, "siem"), (7, "siem")]
