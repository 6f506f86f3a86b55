from __future__ import annotations

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.sources.assignor import SingleActive


class Cluster(ClusterMetadata):  # type: ignore[misc]
    """Topics with a number of partitions each."""

    def __init__(self, **topics: int) -> None:
        super().__init__()
        self._topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._topics[topic])) if topic in self._topics else None


def member(claim: int = 0, *topics: str) -> ConsumerProtocolMemberMetadata:
    assignor = SingleActive.for_consumer()
    assignor.claim = claim
    return assignor.metadata(topics or ("t",))


def assigned(cluster: Cluster, members: dict[str, ConsumerProtocolMemberMetadata]) -> dict[str, dict[str, list[int]]]:
    got = SingleActive.assign(cluster, members)
    return {name: {topic: list(parts) for topic, parts in one.assignment} for name, one in got.items()}


def test_one_member_gets_every_partition_of_every_topic_and_the_others_none() -> None:
    got = assigned(Cluster(t=3, u=2), {"a": member(0, "t", "u"), "b": member(0, "t", "u"), "c": member(0, "t")})
    assert got == {"a": {"t": [0, 1, 2], "u": [0, 1]}, "b": {}, "c": {}}


def test_the_latest_claimant_of_the_store_keeps_the_partitions() -> None:
    got = assigned(Cluster(t=1), {"a": member(3), "b": member(12), "c": member(0)})
    assert got == {"a": {}, "b": {"t": [0]}, "c": {}}


def test_a_topic_that_does_not_exist_yet_has_no_partitions() -> None:
    assert assigned(Cluster(), {"a": member()}) == {"a": {"t": []}}


def test_every_consumer_has_a_claim_of_its_own() -> None:
    one, other = SingleActive.for_consumer(), SingleActive.for_consumer()
    one.claim = 5
    assert (other.claim, SingleActive.claim) == (0, 0)


def test_a_member_that_tells_nothing_counts_as_one_that_never_was_active() -> None:
    silent = ConsumerProtocolMemberMetadata(0, ["t"], None)
    assert assigned(Cluster(t=1), {"a": silent, "b": member(1)}) == {"a": {}, "b": {"t": [0]}}


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 2**63), min_size=1, max_size=6))
def test_exactly_one_member_is_active_whoever_asks(claims: dict[str, int]) -> None:
    got = assigned(Cluster(t=4), {name: member(claim) for name, claim in claims.items()})
    active = [name for name, parts in got.items() if parts]
    assert len(active) == 1
    assert claims[active[0]] == max(claims.values())
    backwards = dict(reversed(claims.items()))
    assert assigned(Cluster(t=4), {name: member(claim) for name, claim in backwards.items()}) == got
