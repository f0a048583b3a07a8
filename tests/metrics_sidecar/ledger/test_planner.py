"""What of a frame is new: sequences, reports and accounts, on the bounds of each."""

import msgspec
import pytest

from metrics_sidecar.intake.families import OTHER_VALUES
from metrics_sidecar.intake.reported import MAX_REPORTED_VALUES
from metrics_sidecar.ledger.planner import MAX_ERROR_TYPES, Planner
from metrics_sidecar.ledger.times import ANY_TIME
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit, Gap, Origin, Producer, State, Work
from shared.record import MAX_COUNT, ErrorType, Record

P, Q = "0" * 32, "1" * 32
ACCOUNT = Producer(committed=10, accepted=8, missing=2, last_seen_us=5)
COUNTER, OTHER = "invoker_requests_rejected_total", "invoker_records_dropped_total"


def planner(**counters: dict[str, int]) -> Planner:
    return Planner(State(4, {P: ACCOUNT}, counters))


def records(first_sequence: int, count: int) -> list[Record]:
    return [Record("m", 1, sequence) for sequence in range(first_sequence, first_sequence + count)]


def report(producer_id: str, **counters: dict[str, int]) -> Work:
    return Work(producer_id, reported=counters)


@pytest.mark.parametrize(
    ("first", "count", "new", "gap", "account"),
    [
        (11, 1, 1, None, (11, 9, 2)),
        (11, 3, 3, None, (13, 11, 2)),
        (10, 1, 0, None, (10, 8, 2)),
        (8, 3, 0, None, (10, 8, 2)),
        (1, 2, 0, None, (10, 8, 2)),
        (8, 4, 1, None, (11, 9, 2)),
        (10, 4, 3, None, (13, 11, 2)),
        (12, 1, 1, Gap(P, 11, 11), (12, 9, 3)),
        (14, 2, 2, Gap(P, 11, 13), (15, 10, 5)),
    ],
)
def test_only_what_comes_after_the_account_is_new(
    first: int, count: int, new: int, gap: Gap | None, account: tuple[int, int, int]
) -> None:
    """What is known is counted as such, what is skipped is missing; nothing is changed until it is applied."""
    known = planner()
    commit = known.plan([Work(P, first, records(first, count))], 7, 9)
    assert (commit.number, commit.now_us, commit.running_us) == (5, 7, 9)
    assert commit.records == records(first, count)[count - new :]
    assert commit.totals == aggregate(commit.records)
    assert commit.duplicate_count == count - new
    assert commit.gaps == ([gap] if gap else [])
    assert sum(gap.count for gap in commit.gaps) == account[2] - 2
    assert commit.producers == {P: Producer(*account, last_seen_us=9)}
    assert known.producer(P) == ACCOUNT
    known.applied(commit)
    assert known.producer(P) == commit.producers[P]
    assert known.plan([], 0).number == 6


@pytest.mark.parametrize(("first", "missing"), [(1, 0), (2, 1)])
def test_a_producer_begins_with_its_first_records(first: int, missing: int) -> None:
    """At sequence 1; it has no account without any."""
    known = planner()
    commit = known.plan([Work(Q), Work(Q, first, records(first, 2)), Work(Q, first + 2, records(first + 2, 1))], 0, 9)
    assert commit.producers == {Q: Producer(first + 2, 3, missing, 9)}
    assert known.plan([Work(Q)], 0).producers == {}
    assert (known.producer(Q), known.producer_count) == (None, 1)
    known.applied(commit)
    assert (known.producer(Q), known.producer_count) == (commit.producers[Q], 2)


def test_a_producer_that_retires_has_no_account_any_more() -> None:
    """As it is after all of its work; what it sends later is another life. Who has none leaves none."""
    known = planner()
    commit = known.plan([Work(P, 11, records(11, 1)), Work(P, retire=True), Work(P), Work(Q, retire=True)], 0, 9)
    assert commit.retired == [Producer(11, 9, 2, 9)]
    assert commit.producers == {P: None}
    again = known.plan([Work(P, retire=True), Work(P, 1, records(1, 2))], 0, 9)
    assert again.producers == {P: Producer(2, 2, 0, 9)}
    known.applied(commit)
    assert (known.producer(P), known.producer_count) == (None, 0)
    known.applied(commit)


def test_who_was_last_seen_before_a_moment_retires() -> None:
    """Not who was seen at that moment."""
    producers = {f"{seen_us:032x}": Producer(1, 1, 0, seen_us) for seen_us in (4, 5, 6)}
    commit = Planner(State(1, producers)).plan_retirement(5, 9)
    assert commit.producers == {f"{4:032x}": None}
    assert commit.retired == [Producer(1, 1, 0, 4)]
    assert (commit.now_us, commit.running_us) == (0, 9)


@pytest.mark.parametrize(
    ("before", "now", "grown", "kept"),
    [
        ({}, {"x": 1}, {"x": 1}, {"x": 1}),
        ({}, {"x": 0}, {}, {}),
        ({"x": 3}, {"x": 3}, {}, {"x": 3}),
        ({"x": 3}, {"x": 2}, {}, {"x": 3}),
        ({"x": 3}, {"x": 4}, {"x": 1}, {"x": 4}),
        ({"x": 3, "y": 1}, {"y": 5, "z": 2}, {"y": 4, "z": 2}, {"x": 3, "y": 5, "z": 2}),
        ({"x": 1}, {"x": MAX_COUNT}, {"x": MAX_COUNT - 1}, {"x": MAX_COUNT}),
    ],
)
def test_of_a_report_counts_what_grew(
    before: dict[str, int], now: dict[str, int], grown: dict[str, int], kept: dict[str, int]
) -> None:
    """Since this producer's last one, of which the highest values are kept."""
    known = planner()
    known.applied(known.plan([report(P, **{COUNTER: before})], 0))
    commit = known.plan([report(P, **{COUNTER: now})], 0)
    assert commit.counters == ({COUNTER: grown} if grown else {})
    known.applied(commit)
    account = known.producer(P)
    assert account is not None
    reported = msgspec.msgpack.decode(account.reported) if account.reported else {}
    assert reported == ({COUNTER: kept} if kept else {})
    assert account.committed == 10


def test_reports_of_one_transaction_add_up() -> None:
    """Of one producer and of several, to the largest integer; each counter for itself."""
    commit = planner().plan(
        [
            report(P, **{COUNTER: {"x": 1}, OTHER: {"x": 7}}),
            report(P, **{COUNTER: {"x": 3}}),
            report(Q, **{COUNTER: {"x": 5}, OTHER: {"x": MAX_COUNT}, "made_up_total": {"x": 1}}),
        ],
        0,
    )
    assert commit.counters == {COUNTER: {"x": 8}, OTHER: {"x": MAX_COUNT}}


@pytest.mark.parametrize("known_count", [MAX_REPORTED_VALUES - 1, MAX_REPORTED_VALUES])
def test_label_values_beyond_32_share_one(known_count: int) -> None:
    """Whether they are known from before, from the same transaction or from the same report."""
    values = {f"{number}": 1 for number in range(known_count)}
    stored, same, one = Planner(State(counters={COUNTER: values})), planner(), planner()
    stored.applied(stored.plan([report(P, **{COUNTER: {"0": 1}, OTHER: {"x": 1}})], 0))
    new = {"a": 2, "b": MAX_COUNT - 2, "c": 4, "0": 5}
    fits = known_count < MAX_REPORTED_VALUES
    expected = {"a": 2, OTHER_VALUES: MAX_COUNT} if fits else {OTHER_VALUES: MAX_COUNT}
    assert stored.plan([report(Q, **{COUNTER: new})], 0).counters == {COUNTER: {**expected, "0": 5}}
    together = same.plan([report(P, **{COUNTER: values}), report(Q, **{COUNTER: new})], 0)
    assert together.counters == {COUNTER: {**values, **expected, "0": 6}}
    del new["0"]
    assert one.plan([report(Q, **{COUNTER: {**values, **new}})], 0).counters == {COUNTER: {**values, **expected}}
    same.applied(together)
    assert same.plan([report("2" * 32, **{COUNTER: {"d": 1}})], 0).counters == {COUNTER: {OTHER_VALUES: 1}}


def test_calls_that_another_model_served_count_for_the_one_that_was_asked_for() -> None:
    """In the transaction of their records, each once; imported ones too."""
    fallbacks = [Record("n", 1, 1, fallback_from="m"), Record("o", 1, 1, fallback_from="m"), Record("m", 1, 1)]
    commit = planner().plan([Work(P, 11, fallbacks), Work(P, 11, fallbacks[:1])], 0)
    assert commit.counters == {"model_fallbacks_total": {"m ": 2}}
    imported = planner().plan_import(Origin("1" * 32, [1, 2, 3]), fallbacks, 0, ANY_TIME)
    assert imported.counters == {"model_fallbacks_total": {"m ": 2}}


def test_what_nothing_is_said_of_is_nothing() -> None:
    """A frame asks for nothing more than it says, and an empty book holds none."""
    assert Work(P) == Work(P, 0, (), None, False, None, ())
    assert Producer() == Producer(0, 0, 0, 0, b"")
    assert State() == State(0, {}, {}, {}, 0, {})
    assert Planner(State()).plan([], 3) == Commit(1, 3, [], {}, {}, 0, {}, [], [], {}, 0, {}, None, 0, None)


def test_an_import_brings_no_error_type_too_many() -> None:
    """The others of its rows are taken, and of each it is told which it was there."""
    known = [Record("m", 1, 1, f"kind_{number}") for number in range(MAX_ERROR_TYPES - len(ErrorType) - 1)]
    kinds = ("kind_0", "new", None, "newer", "new", "timeout")
    found = [Record("m", at, 1, kind) for at, kind in enumerate(kinds)]
    plan_import = Planner(State(totals=aggregate(known))).plan_import
    commit = plan_import(Origin(P, range(100, 106)), found, 7, ANY_TIME)
    assert commit.origin is not None
    assert ([*commit.origin.ids], commit.records) == ([100, 101, 102, 104, 105], [*found[:3], *found[4:]])
    assert (commit.producers, commit.totals) == ({}, aggregate(commit.records))
    assert commit.error_types == {"new"}
