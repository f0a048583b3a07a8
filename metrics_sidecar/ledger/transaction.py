"""One transaction of the ledger: what frames ask of it, and what of that is new. Neither I/O nor threads."""

import dataclasses
from collections.abc import Callable, Iterable

import msgspec

from metrics_sidecar.intake.reported import MAX_REPORTED_VALUES, OTHER_VALUES, Counters, known_counters
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.ledger.times import ANY_TIME, Times
from metrics_sidecar.ledger.totals import ModelTotals, aggregate
from metrics_sidecar.metrics.exemplars import Buckets, find_exemplars
from shared.record import MAX_COUNT, Record


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one frame asks of the ledger; if nothing, the producer was seen. `done` is called on the event
    loop once it is committed, with the producer's last committed sequence."""

    producer_id: str
    first_sequence: int = 0
    records: list[Record] = dataclasses.field(default_factory=list)
    reported: Counters | None = None
    retire: bool = False
    done: Callable[[int], None] | None = None


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
    """One producer's account. `committed` is its last sequence in the ledger: each up to there is either
    `accepted` or `missing`. `last_seen_us`: in running time, which no clock changes. `reported`: its own counters
    (msgpack), so that only what grows is added."""

    committed: int = 0
    accepted: int = 0
    missing: int = 0
    last_seen_us: int = 0
    reported: bytes = b""


@dataclasses.dataclass(slots=True)
class Commit:
    """One transaction: all of it or nothing. `number` counts transactions, `label_room` says how many new
    models may get a label, and a producer that is None has retired. `time`: what is known of it, if that is to be kept.
    `clamped`: how many records were given the time of their arrival, by reason; `newest_us`: the latest time of the
    others."""

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


@dataclasses.dataclass(slots=True)
class State:
    """What a store holds, as the ledger and the views need it: the number of the last transaction, accounts
    of producers, counters, totals per label, when a label's began at zero (µs), where that is known, what is known
    of the time. `arrived_us`: the time of the rows that came last, None without any."""

    number: int = 0
    producers: dict[str, Producer] = dataclasses.field(default_factory=dict)
    counters: Counters = dataclasses.field(default_factory=dict)
    totals: dict[str, ModelTotals] = dataclasses.field(default_factory=dict)
    missing_count: int = 0
    created_us: dict[str, int] = dataclasses.field(default_factory=dict)
    time: TimeState = dataclasses.field(default_factory=TimeState, compare=False)
    arrived_us: int | None = dataclasses.field(default=None, compare=False)


class Planner:
    """Turns work into commits. Knows the accounts as of the last commit that was `applied`."""

    def __init__(self, state: State) -> None:
        self._number = state.number
        self._producers = dict(state.producers)
        self._label_values = {name: set(values) for name, values in state.counters.items()}

    @property
    def producer_count(self) -> int:
        return len(self._producers)

    def producer(self, producer_id: str) -> Producer | None:
        """The account of a producer that has one."""
        return self._producers.get(producer_id)

    def plan(self, group: Iterable[Work], now_us: int, running_us: int = 0, times: Times = ANY_TIME) -> Commit:
        """One transaction for all of this work. Changes nothing here: see `applied`."""
        commit = Commit(self._number + 1, now_us, running_us=running_us)
        for work in group:
            if work.records:
                self._plan_records(commit, work)
            if work.reported is not None:
                self._plan_report(commit, work.producer_id, known_counters(work.reported))
            self._plan_seen(commit, work)
        commit.records, commit.newest_us, commit.clamped = times.clamp(commit.records)
        commit.totals = aggregate(commit.records)
        commit.exemplars = find_exemplars(commit.records, times.arrival_us)
        return commit

    def plan_retirement(self, seen_before_us: int, running_us: int) -> Commit:
        """A transaction in which all producers retire that were last seen before a moment of running time."""
        stale = (id_ for id_, producer in self._producers.items() if producer.last_seen_us < seen_before_us)
        return self.plan([Work(producer_id, retire=True) for producer_id in stale], 0, running_us)

    def applied(self, commit: Commit) -> None:
        """The store has this commit."""
        self._number = commit.number
        for producer_id, producer in commit.producers.items():
            if producer is None:
                self._producers.pop(producer_id, None)
            else:
                self._producers[producer_id] = producer
        for name, values in commit.counters.items():
            self._label_values.setdefault(name, set()).update(values)

    def _account(self, commit: Commit, producer_id: str) -> Producer:
        known = self._producers.get(producer_id)
        return commit.producers.get(producer_id, known) or Producer()

    def _plan_records(self, commit: Commit, work: Work) -> None:
        account = self._account(commit, work.producer_id)
        expected = account.committed + 1
        known = min(max(expected - work.first_sequence, 0), len(work.records))
        commit.duplicate_count += known
        if known == len(work.records):
            return
        skipped = max(work.first_sequence - expected, 0)
        if skipped:
            commit.gaps.append(Gap(work.producer_id, expected, work.first_sequence - 1))
        commit.records += work.records[known:] if known else work.records
        commit.producers[work.producer_id] = dataclasses.replace(
            account,
            committed=work.first_sequence + len(work.records) - 1,
            accepted=account.accepted + len(work.records) - known,
            missing=account.missing + skipped,
        )

    def _plan_report(self, commit: Commit, producer_id: str, reported: Counters) -> None:
        """Add to the counters what grew since this producer's last report."""
        account = self._account(commit, producer_id)
        before = msgspec.msgpack.decode(account.reported, type=Counters) if account.reported else {}
        grew = False
        for name, values in reported.items():
            last = before.setdefault(name, {})
            for label, value in self._bounded(commit, name, values).items():
                grown = value - last.get(label, 0)
                if grown > 0:
                    grew = True
                    last[label] = value
                    counter = commit.counters.setdefault(name, {})
                    counter[label] = min(counter.get(label, 0) + grown, MAX_COUNT)
        if grew:
            commit.producers[producer_id] = dataclasses.replace(account, reported=msgspec.msgpack.encode(before))

    def _bounded(self, commit: Commit, name: str, values: dict[str, int]) -> dict[str, int]:
        """With one label for all values after the first 32 of this counter, whoever reported them."""
        known = self._label_values.get(name, set()) | commit.counters.get(name, {}).keys()
        bounded: dict[str, int] = {}
        for value, count in values.items():
            label = value if value in known or len(known) < MAX_REPORTED_VALUES else OTHER_VALUES
            known.add(label)
            bounded[label] = min(bounded.get(label, 0) + count, MAX_COUNT)
        return bounded

    def _plan_seen(self, commit: Commit, work: Work) -> None:
        """Note when; and end the account of a producer that retires."""
        producer_id = work.producer_id
        account = commit.producers.get(producer_id, self._producers.get(producer_id))
        if account is None:
            return
        if work.retire:
            commit.retired.append(account)
            commit.producers[producer_id] = None
        else:
            commit.producers[producer_id] = dataclasses.replace(account, last_seen_us=commit.running_us)
