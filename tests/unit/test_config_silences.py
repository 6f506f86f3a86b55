"""Silences of the configuration: what is refused, and what `check` says about those that deserve a second look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
import yaml

from kmwatch import assembly
from kmwatch.config.load import Loaded, load
from kmwatch.config.problems import ConfigurationError
from kmwatch.core.constraint import ranges
from tests.support.audit import ROOT

TODAY = date(2026, 11, 24)
GOOD: dict[str, object] = {
    "id": "octavia-move",
    "detections": ["KMW-002", "KMW-024"],
    "callers": ["octavia"],
    "networks": ["10.20.4.0/24"],
    "owner": "network-team",
    "reason": "moves to a new site",
    "expires": "2026-12-31",
}


def configured(tmp_path: Path, *silences: Mapping[str, object], **more: object) -> Loaded:
    """The example's configuration with these silences."""
    given = yaml.safe_load((ROOT / "config" / "kmwatch.yaml").read_text(encoding="utf-8"))
    for key in ("identities", "inventory"):
        given[key] = {"file": str(ROOT / "config" / given[key]["file"])}
    given["callers"] = str(ROOT / "config" / given["callers"])
    given |= {"silences": list(silences), **more}
    path = tmp_path / "kmwatch.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return load(path, {"KMWATCH_KAFKA_PASSWORD": "x"}, today=TODAY)


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name != key}


def remarks(loaded: Loaded) -> list[str]:
    return [problem.message for problem in loaded.problems]


def test_a_good_silence_is_taken_without_a_remark(tmp_path: Path) -> None:
    loaded = configured(tmp_path, GOOD)
    assert remarks(loaded) == []
    (silence,) = assembly.silences(loaded.settings).all
    assert silence.rules == frozenset({"KMW-002", "KMW-024"})
    assert silence.callers == frozenset({"octavia"})
    assert silence.networks == ranges(["10.20.4.0/24"])
    assert silence.secrets is None
    assert silence.expires == 1_798_761_600_000_000, "the first moment of 2027"


@pytest.mark.parametrize("key", ["id", "owner", "reason", "expires"])
def test_every_silence_has_a_name_an_owner_a_reason_and_an_end(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match="is missing"):
        configured(tmp_path, without(key))


def test_two_silences_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='two silences have the id "octavia-move"'):
        configured(tmp_path, GOOD, GOOD)


def test_a_detection_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='no detection "KMW-999"'):
        configured(tmp_path, {**GOOD, "detections": ["KMW-999"]})


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"expires": "2026-11-23"}, "expired after 2026-11-23"),
        ({"expires": "2028-01-01"}, "ends in more than a year"),
        ({"callers": ["nobody"]}, '"nobody" is no caller of the map'),
        ({"secrets": ["5ec4e7"]}, "5ec4e7 is not in the inventory"),
        ({"detections": ["KMW-016"]}, "KMW-016 is off"),
    ],
)
def test_what_deserves_a_second_look_is_said(tmp_path: Path, change: dict[str, object], remark: str) -> None:
    loaded = configured(tmp_path, {**GOOD, **change}, detections={"KMW-016": {"mode": "off"}})
    assert [message for message in remarks(loaded) if message.startswith(remark)] != []
    assert len(remarks(loaded)) == 1


def test_a_silence_that_ends_today_has_not_expired(tmp_path: Path) -> None:
    assert remarks(configured(tmp_path, {**GOOD, "expires": "2026-11-24"})) == []


def test_one_that_silences_a_whole_detection_or_everything_is_too_wide(tmp_path: Path) -> None:
    scope = {key: value for key, value in GOOD.items() if key not in ("callers", "networks")}
    (remark,) = remarks(configured(tmp_path, scope))
    assert remark.startswith("silences a whole detection")
    (first, second) = remarks(configured(tmp_path, {k: v for k, v in scope.items() if k != "detections"}))
    assert first.startswith("covers KMW-022 for anybody")
    assert second.startswith("silences everything")


def test_a_decoy_is_silenced_for_an_exact_caller_only(tmp_path: Path) -> None:
    decoy = {**GOOD, "detections": ["KMW-022"]}
    assert remarks(configured(tmp_path, decoy)) == []
    with pytest.raises(ConfigurationError, match="a decoy's only exception is an exact caller"):
        configured(tmp_path, {key: value for key, value in decoy.items() if key != "callers"})


@pytest.mark.parametrize(
    ("second", "idle"),
    [
        ({}, True),
        ({"detections": ["KMW-002"]}, True),
        ({"secrets": ["7d9a2b54-30a8-4a65-8b8e-6a1d5a0c9c11"]}, True),
        ({"expires": "2026-12-30"}, True),
        ({"expires": "2027-01-01"}, False),
        ({"detections": ["KMW-002", "KMW-001"]}, False),
        ({"callers": ["nova"]}, False),
        ({"networks": ["10.20.5.0/24"]}, False),
    ],
)
def test_one_that_silences_nothing_beyond_an_earlier_one_is_said(
    tmp_path: Path,
    second: dict[str, object],
    idle: bool,  # noqa: FBT001
) -> None:
    loaded = configured(tmp_path, GOOD, {**GOOD, "id": "again", **second})
    said = [message for message in remarks(loaded) if "silences nothing beyond" in message]
    assert (said == ['silences nothing beyond "octavia-move" (silences[0]); remove one of the two']) is idle


def test_it_does_not_silence_less_when_a_key_of_the_earlier_one_is_absent_in_it(tmp_path: Path) -> None:
    wider = {key: value for key, value in GOOD.items() if key != "networks"} | {"id": "again"}
    assert remarks(configured(tmp_path, GOOD, wider)) == []
