"""What the shell needs of the world: protocols, so that each part has one place and several makers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from kmwatch.core.ledger import Extent, Query, Read, Rows, Use
from kmwatch.core.model import Finding, Micros, Secret
from kmwatch.core.record import Decoded, StockRecord
from kmwatch.core.state import Row

Decode = Callable[[bytes, Micros | None], Decoded]  # a record's value and stamp -> what it says
INVENTORY = "inventory/0"  # the stream of the inventory's journal
READS_KEPT = 1_000_000  # rows of the ledger, unless a store is told otherwise


class Record(Struct, frozen=True, gc=False):
    """One record as a source hands it over: bytes and where they stood."""

    stream: str  # "topic/partition", "file:<path>" or "file:<path>#partition"
    offset: int
    value: bytes
    timestamp: Micros | None = None  # the broker's or producer's, if the source has one


class Sink(Protocol):
    """Where alerts go. One instance serves one configured sink and is used by one task only."""

    name: str

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver the findings in order; return when the receiver has acknowledged all of them.

        Returns:
            What the receiver said, in its own words and safe to show, where it says anything.

        Raises:
            TransientError: try the same findings again later; some may have arrived.
            PermanentError: these findings can never be accepted as they are.
            SplitError: together they are too large; nothing was taken.
            PartialError: the receiver told them apart.
            ConfigurationError: nothing will be accepted until an operator changes something.
        """

    async def close(self) -> None:
        """Flush and release; never raises for a receiver that is gone."""


class SinkError(Exception):
    """Base of the three ways a delivery can fail."""


class TransientError(SinkError):
    """The receiver is away or busy. `retry_after` is its own wish in seconds, if it said one."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(SinkError):
    """The receiver will never take these findings."""


class SplitError(PermanentError):
    """Nothing was taken because the batch is too large as a whole: send it in parts. Permanent for a single finding."""


class ConfigurationError(SinkError):
    """The receiver refuses us: credentials, index, certificate. Pause and shout, lose nothing."""


class PartialError(SinkError):
    """The receiver answered for each finding on its own. Positions count within the batch that was sent.

    What is neither refused nor to be sent again has been accepted.
    """

    def __init__(
        self,
        refused: Mapping[int, str],
        again: Collection[int],
        cause: TransientError | ConfigurationError | None = None,
    ) -> None:
        """Take the outcome.

        Args:
            refused: why each of these can never be accepted; the reasons are safe to show.
            again: these are to be sent again.
            cause: why; None if nothing is wrong and they may be sent at once.
        """
        super().__init__(f"{len(refused)} refused, {len(again)} to be sent again: {cause or 'at once'}")
        self.refused, self.again, self.cause = dict(refused), frozenset(again), cause


class UndeliveredError(Exception):
    """The input has ended, and what is left is for sinks that refuse it until somebody changes something."""


class Pending(Struct, frozen=True):
    """A finding that waits for a sink."""

    seq: int  # outbox order
    finding: Finding
    attempts: int


class Outbox(Protocol):
    """The store as delivery sees it. All methods are coroutines of the store's own worker thread."""

    async def pending(self, sink: str, limit: int) -> list[Pending]:
        """The oldest undelivered findings of a sink, in outbox order."""

    async def delivered(self, sink: str, seqs: Sequence[int]) -> None:
        """Mark findings as acknowledged; idempotent."""

    async def failed(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Count an attempt and keep the error for the operator; the findings stay pending."""

    async def dead(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Set findings aside as undeliverable, with the reason."""


class Batch(Struct):
    """What one read of the sources gave."""

    records: list[Record]
    at_end: frozenset[str] = frozenset()  # streams with nothing more to read for now
    elapsed: Micros = 0  # clock time since the last record, if every stream is at its end
    ended: bool = False  # nothing will ever come again
    decode: Decode | None = None  # how its source's records are read; None: each tells its form by itself


class SourceError(Exception):
    """A source cannot go on; the message says what to do."""


class PositionError(SourceError):
    """The store's position and the source's do not fit together: something is missing, and we do not guess."""


class Reassigned(Exception):  # noqa: N818  (an event, not a failure)
    """The streams of this instance changed; read state anew before going on."""


class Begun(Struct):
    """Where a source has begun to read, where that was its own choice, and what is missing before it."""

    starts: dict[str, int] = field(default_factory=dict)  # offsets by stream
    gaps: dict[str, int] = field(default_factory=dict)  # records by stream


class Source(Protocol):
    """Where records come from."""

    async def assigned(self) -> list[str]:
        """Wait until streams are ours to read; returns their names."""

    def claimed(self, number: int) -> None:
        """This instance has claimed the store; of several instances the latest claimant should read."""

    async def seek(self, positions: Mapping[str, int]) -> Begun:
        """Start reading at the store's positions (the offset that comes next, by stream).

        A stream without one starts where the declared start policy says.

        Returns:
            Where it has begun by that policy, and what is missing if an operator has accepted that.

        Raises:
            PositionError: the store's position is not, or no longer, there; or others have read on without it.
        """

    async def read(self, progress: Mapping[str, Micros | None]) -> Batch:
        """Wait a moment for records. `progress` is the event time each stream has reached.

        Raises:
            Reassigned: the streams changed since `seek`.
            SourceError: the source cannot go on.
        """

    async def hold(self, seconds: float) -> None:
        """Let that much time pass without taking a record, and stay a member; the next `read` goes on.

        Raises:
            Reassigned: the streams changed meanwhile.
            SourceError: the source cannot go on.
        """

    async def committed(self, positions: Mapping[str, int]) -> None:
        """The store has everything before these positions; tell whoever measures lag."""

    def lag(self) -> Mapping[str, int]:
        """How many records each stream is behind its end, as far as known."""

    async def close(self) -> None:
        """Leave; never raises for a broker that is gone."""


class Move(Struct, frozen=True):
    """How a commit moves a stream's position: a compare-and-set."""

    stream: str
    expected: int | None  # None: the stream is new to the store
    next: int


class Routed(Struct, frozen=True):
    """A finding's line and the sinks it goes to (none: shadow, or below every sink's severity)."""

    finding: Finding
    sinks: tuple[str, ...]


class Reject(Struct, frozen=True):
    """A record that could not be read, as it is kept."""

    stream: str
    offset: int
    reason: str
    detail: str
    value: bytes  # redacted and cut


class Entry(Struct, frozen=True):
    """A record that its source cannot give again, as a store keeps it: a line of the inventory's journal."""

    stream: str
    number: int  # its offset
    at: Micros  # its place in event time; 0: before everything
    base: bool  # with the others of its kind beside it all that was known then, so that older ones may go
    value: bytes


class News(Struct):
    """What an inventory has to tell, and what is to be kept of it."""

    records: list[StockRecord]
    kept: list[Entry]


class Inventory(Protocol):
    """Tells of secrets. What it tells gets its place in event time from the pipeline, and is kept by the store."""

    def began(self, told: Mapping[str, Secret], *, begun: bool) -> None:
        """A claim was taken: this is what the store will know, and whether it was ever told by an inventory."""

    def take(self, moment: Micros | None, number: int, *, waited_for: bool) -> News:
        """What there is to tell now; asked for with each batch.

        Args:
            moment: its place in event time; None: there is none yet.
            number: of the next line.
            waited_for: somebody waits for what it tells.
        """


class Commit(Struct):
    """Everything one batch changes; it is written whole or not at all."""

    moves: list[Move]
    rows: list[Row]
    routed: list[Routed]
    rejects: list[Reject]
    reads: Rows = field(default_factory=dict)  # what it means for the ledger of retrievals
    entries: list[Entry] = field(default_factory=list)


class Claim(Struct):
    """What an instance reads when it takes over. `number` grows with each claim."""

    number: int
    positions: dict[str, int]
    rows: list[Row]


class SinkAccount(Struct):
    """What became of the lines routed to one sink: routed = delivered + pending + dead + forgotten."""

    routed: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    oldest_pending: float | None = None  # wall-clock seconds since 1970 when the oldest pending line was stored
    pending_bytes: int = 0
    forgotten: int = 0  # dead lines that an operator let go of


class Owed(Struct, frozen=True):
    """A line that a sink has not acknowledged, as an operator sees it."""

    sink: str
    state: str  # pending or dead
    line: str
    finding: str
    rule: str
    severity: str
    stored: float  # wall-clock seconds since 1970
    attempts: int
    error: str | None  # of the last attempt


class Selection(Struct, frozen=True):
    """Which lines an operator speaks of; None: all."""

    sink: str | None = None
    lines: frozenset[str] | None = None  # line ids


class Standing(Struct, frozen=True):
    """Which of several instances this one is."""

    active: bool = False
    epoch: int = 0  # of the active instance, this one or another; grows with each takeover
    since: float | None = None  # wall-clock seconds since 1970, when that epoch began
    owner: str | None = None  # the active instance's name; None where there is none
    trouble: str | None = None  # why that cannot be found out now

    @property
    def role(self) -> str:
        """In a word."""
        return "active" if self.active else "standby"


class Fenced(Exception):  # noqa: N818
    """Another instance has claimed the store since; nothing was written."""


class StoreError(Exception):
    """The store cannot be written or read now (disk full, locked); nothing was written, trying again may work."""


class StateError(Exception):
    """What the store holds is damaged, or cannot be read by this release; trying again does not help."""


class Store(Outbox, Protocol):
    """State, offsets and outbox. One claimed writer at a time; commits are fenced."""

    async def claim(self) -> Claim:
        """Take over: from now on commits of any earlier claimant fail with Fenced.

        A store that elects waits until it is this instance's turn, however long that takes.
        """

    def check(self) -> None:
        """Raise Fenced if another instance is known to have taken over, or may have. Asks nobody."""

    def standing(self) -> Standing:
        """Whether this instance is the active one, and since when, as far as is known. Asks nobody."""

    async def resign(self) -> None:
        """Let another instance take over at once, if one stands by; to go on, claim again."""

    async def commit(self, commit: Commit) -> None:
        """Write everything one batch changed, in one durable transaction.

        Raises:
            Fenced: another instance has claimed the store, or a position is not where it was expected.
            StoreError: nothing was written; the same commit may be tried again.
        """

    async def accounts(self) -> dict[str, SinkAccount]:
        """What became of the lines of each sink, since the store was made."""

    async def prune(self, before: float) -> int:
        """Forget delivered lines and rejected records stored before this wall-clock time; returns how many."""

    async def prune_reads(self, before: Micros) -> int:
        """Forget the ledger's retrievals from before this event time; returns how many."""

    async def prune_journal(self, before: Micros) -> int:
        """Forget entries before the last base from before this event time; returns how many."""

    def backlog(self) -> int:
        """How many lines wait for the sinks that this instance serves, each counted for each sink.

        What another process puts back is counted when `accounts` is next asked; so for `backlog_octets`.
        """

    def backlog_octets(self) -> int:
        """How many octets these lines have."""

    async def serve(self, sinks: Collection[str]) -> None:
        """From now on only the lines of these sinks count as backlog. The others stay where they are."""

    async def owed(self, selection: Selection, limit: int) -> list[Owed]:
        """What waits or is dead, by sink and in outbox order; needs no claim."""

    async def retry(self, selection: Selection) -> int:
        """Have dead lines wait again, with their attempts forgotten; returns how many. Needs no claim."""

    async def forget(self, selection: Selection) -> int:
        """Let go of dead lines for good, and count them; returns how many. Needs no claim."""

    async def close(self) -> None:
        """Finish and release."""


class History(Protocol):
    """What a store has kept, for people's questions. Reads beside the daemon that writes it, and changes nothing.

    Every method raises StoreError where the store cannot be read.
    """

    def reads(self, query: Query) -> AsyncIterator[list[Read]]:
        """The retrievals asked for, sorted by (event_time, event_id), a page at a time.

        No question may cost more as the ledger grows: an index leads to the rows.
        """

    def findings(self, uid: str | None = None) -> AsyncIterator[list[Finding]]:
        """Lines of findings in the order they were made: all that are kept, or those of one finding or line uid."""

    async def uses(self) -> Mapping[str, Use]:
        """How each secret was read, by its id, as far as the ledger reaches back."""

    async def extent(self) -> Extent:
        """How much the ledger holds."""

    def journal(self, since: Micros) -> AsyncIterator[list[bytes]]:
        """What the inventory told from this event time on, after all that was known then: the last base before it.

        The values of entries, in order, a page at a time.
        """

    async def close(self) -> None:
        """Release it."""
