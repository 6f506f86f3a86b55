"""Runs the tests of a caller map: each sample request through the production match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time

from kmwatch.config.lint import Remark
from kmwatch.config.maps import MapFile, compiled
from kmwatch.config.maptests import Sample, SampleSecret, SampleUser
from kmwatch.config.problems import Level, Problem
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities
from kmwatch.core.match import match
from kmwatch.core.model import (
    AddressSource,
    AuditEvent,
    Evidence,
    Initiator,
    Kind,
    Match,
    Micros,
    Outcome,
    Reason,
    Secret,
    Target,
    Witness,
)
from kmwatch.inventory.rows import micros


def failures(file: MapFile, identities: Identities, inventory: Mapping[str, Secret], today: date) -> list[Problem]:
    """What each failing test expected and got.

    Args:
        file: a map without errors.
        identities: who is who.
        inventory: the secrets, by id.
        today: the date in UTC; a test without a time is of its noon.
    """
    runner = _Runner(file, identities, inventory, today)
    return [remark.problem(file) for remark in runner.run()]


class _Runner:
    def __init__(self, file: MapFile, identities: Identities, inventory: Mapping[str, Secret], today: date) -> None:
        self._file, self._inventory = file, inventory
        self._noon = micros(datetime.combine(today, time(12), UTC))
        self._directory = Declarations(compiled(file), identities, ()).directory
        made = [self._secret(index, sample.secret) for index, sample in file.samples.items()]
        by_id = {secret.id: secret for secret in (*inventory.values(), *(one for one in made if one is not None))}
        self._held = Declarations(compiled(file), identities, by_id.values())

    def run(self) -> Iterator[Remark]:
        for index, sample in self._file.samples.items():
            found = match(self._held, self._event(index, sample), sample.action)
            right = found.reason is sample.expect and sample.by in (None, _named(found))
            if not right:
                wanted = sample.expect + (f" by {sample.by}" if sample.by is not None else "")
                yield Remark(("tests", index), f'"{sample.id}" expects {wanted}, and gets {_told(found)}', Level.ERROR)

    def _event(self, index: int, sample: Sample) -> AuditEvent:
        secret = self._secret_id(index, sample.secret)
        at = self._noon if sample.at is None else micros(sample.at)
        path = f"/v1/secrets/{secret}"
        user = self._user(sample.user)
        who = Initiator(
            user,
            sample.user.name,
            self._project(sample.project),
            sample.project,
            sample.roles,
            sample.address,
            AddressSource.PROXY if sample.address is not None else AddressSource.NONE,
            sample.agent,
        )
        return _request(sample.action, at, who, Target("secret", secret, path), path)

    def _user(self, user: SampleUser) -> str:
        """An id; a name that identities do not know, or that several bear, gets one that nobody has."""
        if user.id is not None:
            return user.id
        found = self._directory.user_ids(user.name or "", user.domain)
        return found[0] if len(found) == 1 else f"test:{user.name}"

    def _project(self, project: str | None) -> str | None:
        found = self._directory.project_ids(project) if project is not None else ()
        return found[0] if len(found) == 1 else project

    def _secret_id(self, index: int, secret: SampleSecret) -> str:
        return secret.id if secret.id is not None else f"test:{index}"

    def _secret(self, index: int, secret: SampleSecret) -> Secret | None:
        """The secret that a test makes up; None where it names one of the inventory, or one that nobody knows."""
        made_up = secret.model_fields_set - {"id"}
        if not made_up:
            return None
        return Secret(
            self._secret_id(index, secret),
            secret.name,
            secret.type,
            self._project(secret.project),
            None if secret.creator is None else self._user(secret.creator),
            containers=secret.containers,
        )


def _request(kind: Kind, at: Micros, who: Initiator, target: Target, path: str) -> AuditEvent:
    success, whole = Outcome.SUCCESS, Evidence.COMPLETE
    seen = (Witness.CADF,)
    return AuditEvent("test", at, kind, success, None, 200, None, path, path, None, None, who, target, whole, seen)


def _named(found: Match) -> str | None:
    return found.declaration if found.nearest is None else found.nearest.declaration


def _told(found: Match) -> str:
    if found.reason is Reason.DECLARED:
        return f"{found.reason} by {found.declaration}"
    nearest = found.nearest
    if nearest is None:
        return found.reason.value
    actual = nearest.actual if nearest.actual is not None else "nothing"
    return (
        f"{found.reason}: nearest {nearest.declaration} fails on {nearest.failed_field}:"
        f" expected {nearest.expected}, got {actual}"
    )
