"""One active reader: a group assignor that gives every partition to one member and makes the others its standby.

Audit records carry no Kafka key, so the two halves of a request, and all requests of a caller, lie on any
partition: only an instance that reads all of them sees whole requests. The member that claimed the store last
keeps the partitions through a rebalance; among members that never did, the least member id begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class SingleActive(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka is untyped
    """Make a class of one's own for each consumer with `for_consumer`: aiokafka calls the class, not an instance."""

    name = "kmwatch-single-active"
    claim = 0  # the store's claim number of this member, 0 before it ever was active

    @classmethod
    def for_consumer(cls) -> type[SingleActive]:
        """An assignor class with a claim of its own."""
        return type("SingleActive", (cls,), {})

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Give all partitions of all topics to one member."""
        active = min(members, key=lambda member: (-_claim(members[member].user_data), member))
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        parts = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
        return {
            member: ConsumerProtocolMemberAssignment(0, parts if member == active else [], b"") for member in members
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Tell the group's leader of this member's claim."""
        return ConsumerProtocolMemberMetadata(0, list(topics), cls.claim.to_bytes(8))

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing to remember: the claim is made on the store."""


def _claim(user_data: bytes | None) -> int:
    return int.from_bytes(user_data or b"")
