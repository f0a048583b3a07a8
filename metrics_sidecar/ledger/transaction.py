"""One transaction of the ledger: what frames ask of it, what it changes, and what all of them have left."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metrics_sidecar.intake.reported import Counters
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.metrics.exemplars import Buckets
from shared.record import Record
from shared.wire import Unread


class UnreadRecord(NamedTuple):
    """A record that no release so far could read, set aside as it was sent. `id`: where it is kept, if it is."""

    producer_id: str
    sequence: int
    encoded: bytes
    reason: str
    id: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one frame asks of the ledger; if nothing, the producer was seen. `reread`: what was set aside and can be
    read now. `done` is called on the event loop once it is committed, with the producer's last committed sequence."""

    producer_id: str
    first_sequence: int = 0
    records: Sequence[Record | Unread] = ()
    reported: Counters | None = None
    retire: bool = False
    done: Callable[[int], None] | None = None
    reread: Sequence[tuple[UnreadRecord, Record]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Sequences that a producer skipped, both ends included: records that nobody holds any more."""

    producer_id: str
    first_sequence: int
    last_sequence: int

    @property
    def count(self) -> int:
        return self.last_sequence - self.first_sequence + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Producer:
    """One producer's account. `committed` is its last sequence in the ledger: each up to there is `accepted`, `missing`
    or `unread`. `last_seen_us`: in running time, which no clock changes. `reported`: its own counters (msgpack), so
    that only what grows is added."""

    committed: int = 0
    accepted: int = 0
    missing: int = 0
    last_seen_us: int = 0
    reported: bytes = b""
    unread: int = 0


class Origin(NamedTuple):
    """Of which history rows are, if not of this one, and what ids they have there, each once."""

    history: str
    ids: Sequence[int]


@dataclasses.dataclass(slots=True)
class Commit:
    """One transaction: all of it or nothing. `number` counts transactions, `label_room` says how many new
    models may get a label, and a producer that is None has retired. `time`: what is known of it, if that is to be kept.
    `clamped`: how many records were given the time of their arrival, by reason; `newest_us`: the latest time of the
    others. `unread`: what is set aside, beside what was dropped, and by how many bytes that has grown; `reread`: what
    is no longer, some of it of producers that have retired. `error_types`: those never seen before. `origin`: where the
    records are from, if no producer has sent them."""

    number: int
    now_us: int
    records: list[Record] = dataclasses.field(default_factory=list)
    totals: dict[str, ModelTotals] = dataclasses.field(default_factory=dict)
    exemplars: dict[str, Buckets] = dataclasses.field(default_factory=dict)
    label_room: int = 0
    producers: dict[str, Producer | None] = dataclasses.field(default_factory=dict)
    retired: list[Producer] = dataclasses.field(default_factory=list)
    gaps: list[Gap] = dataclasses.field(default_factory=list)
    counters: Counters = dataclasses.field(default_factory=dict)
    duplicate_count: int = 0
    clamped: dict[str, int] = dataclasses.field(default_factory=dict)
    newest_us: int | None = None
    running_us: int = 0
    time: TimeState | None = None
    unread: list[UnreadRecord] = dataclasses.field(default_factory=list)
    unread_dropped_count: int = 0
    unread_bytes: int = 0
    reread: list[UnreadRecord] = dataclasses.field(default_factory=list)
    reread_retired_count: int = 0
    error_types: set[str] = dataclasses.field(default_factory=set)
    origin: Origin | None = None


@dataclasses.dataclass(slots=True)
class State:
    """What a store holds, as the ledger and the views need it: the number of the last transaction, accounts
    of producers, counters, totals per label, when a label's began at zero (µs), where that is known, what is known
    of the time. `arrived_us`: the time of the rows that came last, None without any. `unread_bytes`: of what is set
    aside. `rows_from_us`: rows of earlier times are shown no longer, and removed."""

    number: int = 0
    producers: dict[str, Producer] = dataclasses.field(default_factory=dict)
    counters: Counters = dataclasses.field(default_factory=dict)
    totals: dict[str, ModelTotals] = dataclasses.field(default_factory=dict)
    missing_count: int = 0
    created_us: dict[str, int] = dataclasses.field(default_factory=dict)
    time: TimeState = dataclasses.field(default_factory=TimeState, compare=False)
    arrived_us: int | None = dataclasses.field(default=None, compare=False)
    unread_bytes: int = 0
    rows_from_us: int = dataclasses.field(default=0, compare=False)
