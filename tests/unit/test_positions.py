from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from kmwatch.ports import PositionError
from kmwatch.sources.positions import Known, decide, partition_of, stream_of

EARLIEST, LATEST = "earliest", "latest"


def known(store: int | None, group: int | None, first: int = 0, end: int = 100) -> dict[str, Known]:
    return {"t/0": Known(store, group, first, end)}


def test_the_stores_position_counts() -> None:
    for policy in (EARLIEST, LATEST):
        assert decide(known(40, 40), policy, accept_gap=False) == ({"t/0": 40}, {})


def test_a_group_that_lags_behind_the_store_does_not_matter() -> None:
    assert decide(known(40, 10), EARLIEST, accept_gap=False) == ({"t/0": 40}, {})
    assert decide(known(40, None), EARLIEST, accept_gap=False) == ({"t/0": 40}, {})


@pytest.mark.parametrize("store", [0, 100])
def test_both_ends_of_the_topic_are_good_positions(store: int) -> None:
    assert decide(known(store, None), EARLIEST, accept_gap=False) == ({"t/0": store}, {})


def test_a_topic_that_nobody_has_read_starts_where_the_policy_says() -> None:
    assert decide(known(None, None, 7), EARLIEST, accept_gap=False) == ({"t/0": 7}, {})
    assert decide(known(None, None, 7), LATEST, accept_gap=False) == ({"t/0": 100}, {})


def test_a_new_partition_of_a_known_topic_starts_at_its_beginning() -> None:
    parts = {"t/0": Known(40, None, 0, 100), "t/1": Known(None, None, 3, 50), "u/0": Known(None, None, 3, 50)}
    starts, _ = decide(parts, LATEST, accept_gap=False)
    assert starts == {"t/0": 40, "t/1": 3, "u/0": 50}


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (Known(None, 40, 0, 100), "committed offset 40, but the store knows nothing"),
        (Known(40, 60, 0, 100), "committed offset 60, but the store is at 40"),
        (Known(40, None, 41, 100), "records 40 to 40 were removed"),
        (Known(101, None, 0, 100), "the store is at offset 101, but the topic ends at 100"),
    ],
)
def test_where_store_and_kafka_disagree_it_refuses_and_says_what_is_missing(at: Known, says: str) -> None:
    with pytest.raises(PositionError, match=says) as refusal:
        decide({"t/0": at}, EARLIEST, accept_gap=False)
    assert "t/0" in str(refusal.value)
    assert "--accept-gap" in str(refusal.value)


def test_one_refusal_tells_of_every_stream() -> None:
    parts = {"t/0": Known(None, 40, 0, 100), "t/1": Known(40, None, 41, 100), "t/2": Known(5, 5, 0, 100)}
    with pytest.raises(PositionError) as refusal:
        decide(parts, EARLIEST, accept_gap=False)
    assert "t/0" in str(refusal.value)
    assert "t/1" in str(refusal.value)
    assert "t/2" not in str(refusal.value)


def test_with_an_accepted_gap_it_starts_at_the_nearest_place_and_counts_what_is_missing() -> None:
    parts = {
        "t/0": Known(40, None, 55, 100),
        "t/1": Known(101, None, 9, 100),
        "t/2": Known(None, 40, 3, 100),
        "t/3": Known(40, 60, 0, 100),
    }
    starts, gaps = decide(parts, LATEST, accept_gap=True)
    assert starts == {"t/0": 55, "t/1": 9, "t/2": 3, "t/3": 40}
    assert gaps["t/0"] == 15
    assert "t/3" not in gaps


@pytest.mark.parametrize("topic", ["t", "a.b-c_d", "with/slash"])
def test_a_partition_and_its_stream_name_stand_for_each_other(topic: str) -> None:
    assert partition_of(stream_of(TopicPartition(topic, 12))) == TopicPartition(topic, 12)
