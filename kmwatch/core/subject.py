"""What a request is about, as the secret conditions see it."""

from __future__ import annotations

from kmwatch.core.model import Reason, Secret
from kmwatch.core.selector import GroupTest, Truth, either

Member = tuple[str, Secret | None]


class Subject:
    """One secret, the members of a container, or nothing that has secrets.

    A container is as its members are: a condition holds for it if it holds for every member, so nobody makes
    a foreign secret their own by putting it into a container of theirs. Answers about groups are remembered.
    """

    __slots__ = ("_answers", "_inventoried", "_members", "_type")

    def __init__(self, target_type: str, members: tuple[Member, ...] | None) -> None:
        """`members` is empty for what has no secrets, and None where it is not known which they are."""
        self._type = target_type
        self._members = members
        self._inventoried = any(secret is not None for _, secret in members or ())
        self._answers: dict[int, Truth] = {}

    def within(self, groups: tuple[GroupTest, ...]) -> Truth:
        """Whether it is in one of the groups."""
        return either(self._group(group) for group in groups)

    def known_in(self, group: GroupTest) -> bool:
        """Whether it is in the group for sure."""
        if group.ids is None and not self._inventoried:
            return False
        return self._holds(group) is True

    def created_by(self, user_id: str | None) -> Truth:
        """Whether the inventory says that this user created it."""
        if self._members is None:
            return self._unknown()
        return _every([_created(secret, user_id) for _, secret in self._members])

    def _group(self, group: GroupTest) -> Truth:
        answer = self._answers.get(group.index)
        if answer is None:
            answer = self._answers[group.index] = self._holds(group)
        return answer

    def _holds(self, group: GroupTest) -> Truth:
        if self._members is None:
            return self._unknown()
        return _every([group.holds(secret_id, secret) for secret_id, secret in self._members])

    def _unknown(self) -> Reason:
        """A secret without an id was not shown; a container without members is not in the inventory."""
        return Reason.EVIDENCE_MISSING if self._type == "secret" else Reason.SECRET_UNKNOWN


def _created(secret: Secret | None, user_id: str | None) -> Truth:
    if secret is None or secret.creator_id is None:
        return Reason.SECRET_UNKNOWN
    return Reason.EVIDENCE_MISSING if user_id is None else secret.creator_id == user_id


def _every(truths: list[Truth]) -> Truth:
    """AND over one or more; of nothing it is false: what has no secrets is in no selection of secrets."""
    if not truths or any(truth is False for truth in truths):
        return False
    return next((truth for truth in truths if truth is not True), True)
