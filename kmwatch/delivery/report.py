"""What delivery says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from kmwatch.core.model import Finding, Micros


class State(StrEnum):
    """What a sink's worker is doing."""

    IDLE = "idle"
    SENDING = "sending"
    RETRYING = "retrying"  # waits after a transient failure
    PAUSED = "paused"  # waits for an operator, and looks now and then


class FailureKind(StrEnum):
    """How a delivery failed."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"


class DeliveryState(Struct, frozen=True):
    """One sink, for /status. `attempts` counts failures in a row; a delivery clears `last_error`."""

    sink: str
    state: State
    last_error: str | None
    since: Micros  # when it came into this state
    attempts: int


class DeliveryEvents(Protocol):
    """What delivery reports; the app turns it into metrics and log lines. None of these may raise."""

    def delivered(self, sink: str, findings: Sequence[Finding]) -> None:
        """The receiver acknowledged them and the outbox knows."""

    def failed(self, sink: str, error: str, kind: FailureKind) -> None:
        """An attempt failed. The text is safe to show."""

    def dead(self, sink: str, findings: Sequence[Finding], reason: str) -> None:
        """They were set aside for good."""

    def changed(self, state: DeliveryState) -> None:
        """A sink came into another state."""
