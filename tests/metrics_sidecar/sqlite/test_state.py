"""What is read of a ledger at its start: totals by label, when these began, and what was known of the time."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.ledger.totals import ModelTotals, aggregate, merged
from metrics_sidecar.ledger.transaction import Producer, State, Work
from metrics_sidecar.ledger.usage import USAGE_NAMES
from metrics_sidecar.sqlite.labels import promote
from metrics_sidecar.sqlite.state import (
    count_missing,
    decode_overflowed,
    encode_overflowed,
    read_counters,
    read_state,
    read_time,
    read_totals,
    read_totals_by_label,
)
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID, ErrorType, Record

P = "0" * 32
COUNTER = "invoker_requests_rejected_total"
TIME = TimeState(7, 100, 3, -5, 6, None, True, False)


def record(model_id: str, at_us: int, error_type: ErrorType | None = None) -> Record:
    return Record(model_id, at_us, 10 * at_us, error_type)


class Ledger:
    """A file that is written to, and a connection that reads it."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteWriter(path)
        self._planner = Planner(self._store.load())
        self._next = 1
        self.connection = sqlite3.connect(path, isolation_level=None)

    def commit(
        self, *records: Record, room: int = 9, now_us: int = 0, gap: int = 0, time: TimeState | None = None
    ) -> None:
        work = Work(P, self._next + gap, [*records], {COUNTER: {"x": self._next}} if records else None)
        commit = self._planner.plan([work], now_us)
        commit.label_room, commit.time = room, time
        self._store.commit(commit)
        self._planner.applied(commit)
        self._next += gap + len(records)

    def close(self) -> None:
        self.connection.close()
        self._store.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "history.db")
    with contextlib.closing(ledger):
        yield ledger


def test_a_state_is_what_commits_have_left(ledger: Ledger) -> None:
    """All of it; of an empty ledger nothing."""
    assert read_state(ledger.connection) == State()
    records = [record("a", 1), record("b", 5, ErrorType.TIMEOUT), record("c", 3, ErrorType.CONNECT), record("c", 4)]
    ledger.commit(*records[:2], now_us=50)
    ledger.commit(*records[2:], room=0, now_us=60, gap=3, time=TIME)
    state = read_state(ledger.connection)
    whole = aggregate(records)
    account = state.producers[P]
    assert state == State(
        2,
        {P: Producer(7, 4, 3, 0, account.reported)},
        {COUNTER: {"x": 3}},
        {"a": whole["a"], "b": whole["b"], OVERFLOW_MODEL_ID: whole["c"]},
        3,
        {"a": 50, "b": 50, OVERFLOW_MODEL_ID: 60},
    )
    assert (state.time, state.arrived_us) == (TIME, 3)
    assert msgspec.msgpack.decode(account.reported) == {COUNTER: {"x": 3}}
    assert read_totals(ledger.connection, "c") == whole["c"]
    assert read_totals(ledger.connection, OVERFLOW_MODEL_ID) is None


@pytest.mark.parametrize(
    ("times_us", "expected_us"),
    [
        ([], None),
        ([7], 7),
        ([7, 9], 7),
        ([9, 7, 8], 8),
        ([0] * 51 + [5] * 50, 0),
        ([5] * 51 + [0] * 50, 5),
        ([0] * 52 + [5] * 50, 0),
        ([0] * 51 + [5] * 51, 5),
        ([9] * 500 + [*range(101)], 50),
    ],
)
def test_the_time_of_the_last_rows_is_that_of_most(
    ledger: Ledger, times_us: list[int], expected_us: int | None
) -> None:
    """Of the last 101 as they came, whatever times they have."""
    if times_us:
        ledger.commit(*(record("m", at_us) for at_us in times_us))
    assert read_state(ledger.connection).arrived_us == expected_us


def test_what_was_known_of_the_time_is_kept_by_later_commits(ledger: Ledger) -> None:
    """Which need not tell it; an older release did not know it."""
    assert read_time(ledger.connection) == TimeState()
    ledger.commit(record("m", 1), time=TIME)
    ledger.commit(record("m", 1))
    assert read_time(ledger.connection) == TIME
    ledger.connection.execute("ALTER TABLE books DROP COLUMN time")
    assert read_time(ledger.connection) == TimeState()


def test_what_was_used_adds_up_to_what_integers_hold(ledger: Ledger) -> None:
    """Of those models that used anything; columns have the names of the numbers."""
    columns = [name for _, name, *_ in ledger.connection.execute("PRAGMA table_info (usage_totals)")]
    assert columns == ["model", *USAGE_NAMES]
    used = [Record("a", 1, 2, operation="chat", input_tokens=MAX_COUNT, cost_nano_usd=5, time_to_first_token_us=n)
            for n in (1, 5000, MAX_COUNT)]  # fmt: skip
    for one in used:
        ledger.commit(one, record("b", 1))
    totals = read_totals(ledger.connection, "a")
    assert totals is not None
    assert totals == aggregate(used)["a"]
    assert (totals.number("input_tokens"), totals.number("cost_nano_usd")) == (MAX_COUNT, 15)
    assert ledger.connection.execute("SELECT COUNT(*) FROM usage_totals").fetchone() == (1,)
    assert read_totals_by_label(ledger.connection)["a"] == totals


def test_gaps_and_counters_add_up(ledger: Ledger) -> None:
    """In gaps and in records, beyond what 32 bits hold."""
    assert count_missing(ledger.connection) == (0, 0)
    ledger.commit(record("m", 1), gap=1)
    assert count_missing(ledger.connection) == (1, 1)
    ledger.commit(record("m", 1), gap=2**40 + 2**31)
    ledger.commit(record("m", 1), gap=2**31)
    assert count_missing(ledger.connection) == (3, 2**40 + 2**32 + 1)
    ledger.connection.execute("INSERT INTO gateway_counters (name, label, value) VALUES ('n', 'y', 5), ('n', 'z', 6)")
    assert read_counters(ledger.connection)["n"] == {"y": 5, "z": 6}


@pytest.mark.parametrize("model_id", ["A", "a"])
def test_what_a_model_had_before_its_label_stays_under_the_shared_one(ledger: Ledger, model_id: str) -> None:
    """As the counters have it; statistics know it by its name. Whatever comes first in an alphabet."""
    before = [record(model_id, 1, ErrorType.TIMEOUT), record(model_id, 2)]
    others = [record("other", 3), record("other", 4, ErrorType.TIMEOUT)]
    after = [record(model_id, 9, ErrorType.CONNECT), record(model_id, 8)]
    ledger.commit(*before, *others, room=0, now_us=5)
    promote(ledger.connection, [model_id, "none such"], 70)
    ledger.commit(*after)
    whole = aggregate([*before, *after])[model_id]
    shared = aggregate(before)[model_id]
    assert read_totals_by_label(ledger.connection) == {
        model_id: whole,
        OVERFLOW_MODEL_ID: aggregate(others)["other"],
    }
    counted = read_totals_by_label(ledger.connection, as_counted=True)
    assert counted[OVERFLOW_MODEL_ID] == merged(shared, aggregate(others)["other"])
    mine, expected = counted[model_id], aggregate(after)[model_id]
    assert (mine.success_count, mine.failure_count, mine.latency_us) == (1, 1, expected.latency_us)
    assert (mine.errors, mine.buckets) == (expected.errors, expected.buckets)
    # When the shared label was at zero isn't known any more: what it counts was there before the model left it.
    assert read_state(ledger.connection).created_us == {model_id: 70}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([("a", 1, 5), ("b", 1, None)], {"a": 5}),
        ([("a", 0, 5), ("b", 0, 4), ("c", 1, 3)], {"c": 3, OVERFLOW_MODEL_ID: 4}),
        ([("a", 0, 5), ("b", 0, None), ("c", 1, 3)], {"c": 3}),
        ([("a", 0, None)], {}),
    ],
)
def test_when_a_label_began_is_told_where_it_is_known(
    ledger: Ledger, models: list[tuple[str, int, int | None]], expected: dict[str, int]
) -> None:
    """The shared one with the first of its models, if it is known of all."""
    ledger.connection.executemany("INSERT INTO models (model_id, labelled, created_us) VALUES (?, ?, ?)", models)
    assert read_state(ledger.connection).created_us == expected


def test_what_stays_is_kept_by_the_names_of_columns() -> None:
    """A column that comes later was 0 in what is older."""
    totals = aggregate([record("m", 1, ErrorType.TIMEOUT), record("m", 2)])["m"]
    assert decode_overflowed(encode_overflowed(totals)) == totals
    totals = aggregate([Record("m", 1, 2, operation="chat", input_tokens=3, time_to_first_token_us=4)])["m"]
    assert decode_overflowed(encode_overflowed(totals)) == totals
    assert decode_overflowed(b'{"totals": {"failure_count": 2, "later": 9}, "errors": {"timeout": 2}}') == ModelTotals(
        failure_count=2, errors={ErrorType.TIMEOUT: 2}
    )
