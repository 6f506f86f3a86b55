"""What one witness says of one request, before it is held against what the others say."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from kmwatch.core.model import Initiator, Micros, Word


class Slot:
    """The places a request's records fill in the join; a witness's record fills one or more, added up.

    Plain bits and no IntFlag: an enum's operators cost more than all else that the join does with a record.
    """

    CADF_REQUEST: Final = 1
    CADF_RESPONSE: Final = 2


class AuditRecord(Struct, frozen=True, gc=False):
    """A CADF audit event of keystonemiddleware: one half of a request, or all of it.

    Two equal values are the same record delivered twice: nothing here depends on where the record stood.
    """

    slot: int  # bits of Slot
    key: str  # the join key: request id, else "cadf-<event id>"
    event_time: Micros  # CADF eventTime: when the request began
    observed_time: Micros  # when this record was made: progress of its stream
    action: str
    outcome: str
    status: int | None
    path_raw: str
    request_id: str | None
    global_request_id: str | None
    initiator: Initiator
    flags: tuple[str, ...] = ()


class Ignored(Word):
    """Why a well-formed record is not evidence of a Key Manager request."""

    NOT_AUDIT = "not_audit"  # another notification on the same topic
    OTHER_SERVICE = "other_service"  # an audit event of another OpenStack service
    EMPTY = "empty"  # a tombstone or a blank line


class RejectReason(Word):
    """Why a record cannot be read."""

    NOT_JSON = "not_json"
    BAD_ENVELOPE = "bad_envelope"
    BAD_AUDIT_EVENT = "bad_audit_event"
    BAD_TIME = "bad_time"
    TOO_LARGE = "too_large"


class Rejected(Struct, frozen=True, gc=False):
    """A record that cannot be read: kept with its reason, redacted, and counted."""

    reason: RejectReason
    detail: str


Decoded = AuditRecord | Ignored | Rejected
