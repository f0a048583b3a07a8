"""How SQLite goes about a page of the history."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, Order, Position, Status
from metrics_sidecar.history.windows import MINUTE_US, Window, align
from metrics_sidecar.sqlite import counts
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.counts import count_window
from metrics_sidecar.sqlite.filters import select
from metrics_sidecar.sqlite.guard import Guard
from metrics_sidecar.sqlite.history import read_history, read_keys
from metrics_sidecar.sqlite.schema import migrate
from shared.record import ErrorType
from tests.bench.history_store import make_history, model_name

NOW_US = 1_800_000_000_000_000
MIDDLE_US = NOW_US - 12 * 3600 * 1_000_000
ONE, SOME = (model_name(1),), tuple(map(model_name, range(1, 4)))
TIMEOUT, BOTH = (ErrorType.TIMEOUT,), (ErrorType.TIMEOUT, ErrorType.CONNECT)

SERVED = {
    "all": HistoryFilter(),
    "time": HistoryFilter(since_us=MIDDLE_US - 10**9, until_us=MIDDLE_US),
    "since": HistoryFilter(since_us=MIDDLE_US),
    "success": HistoryFilter(status="success"),
    "failure": HistoryFilter(status="failure"),
    "type": HistoryFilter(error_types=TIMEOUT),
    "types, time": HistoryFilter(error_types=BOTH, since_us=MIDDLE_US),
    "model": HistoryFilter(models=ONE),
    "model, time": HistoryFilter(models=ONE, until_us=MIDDLE_US),
    "model, success": HistoryFilter(models=ONE, status="success"),
    "model, failure": HistoryFilter(models=ONE, status="failure"),
    "model, type": HistoryFilter(models=ONE, error_types=TIMEOUT),
    "models": HistoryFilter(models=SOME),
    "models, types, time": HistoryFilter(models=SOME, error_types=BOTH, since_us=MIDDLE_US),
    "prefix": HistoryFilter(prefixes=("team-1/",)),
    "prefix, failure": HistoryFilter(prefixes=("team-",), status="failure"),
    "prefix, rare type": HistoryFilter(prefixes=("team-",), error_types=(ErrorType.GATEWAY_DIED,)),
}

IN_ORDER = {
    "SCAN invocations USING INDEX invocations_by_time",
    "SCAN invocations USING COVERING INDEX invocations_by_time",
}
"""Of all rows without a bound in time: only to the end of the page."""


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A store of 5,000 rows and 40 models: SQLite plans as for any other, as it has no statistics of either."""
    path = tmp_path_factory.mktemp("plans") / "history.db"
    make_history(path, 5_000, 40, NOW_US)
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, str(path))
    yield connection
    connection.close()


def plans_of(connection: sqlite3.Connection, read: Callable[[], object]) -> dict[str, list[str]]:
    """Each statement that this takes, and the steps of its plan."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    read()
    connection.set_trace_callback(None)
    return {sql: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in statements}


def steps_of(connection: sqlite3.Connection, read: Callable[[], object]) -> int:
    """Of SQLite's virtual machine, all statements together, in tens."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    connection.set_progress_handler(look, 10)
    read()
    connection.set_progress_handler(None, 0)
    return looks * 10


def wrong_steps(plans: dict[str, list[str]]) -> dict[str, str]:
    """Statements that sort more than what is of one moment, or read a table from end to end."""
    wrong = re.compile("SCAN (invocations|rollups)|.*TEMP B-TREE FOR (?!RIGHT PART|LAST TERM)")
    return {sql: step for sql, steps in plans.items() for step in steps if wrong.match(step) and step not in IN_ORDER}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("after", [None, Position(MIDDLE_US, "5")], ids=["first", "cursor"])
@pytest.mark.parametrize("name", SERVED)
def test_a_served_filter_is_read_in_order_from_an_index(
    connection: sqlite3.Connection, name: str, after: Position | None, order: Order
) -> None:
    """No table or index is read from end to end, and nothing is sorted but what is of one moment."""
    query = HistoryQuery(filter=SERVED[name], after=after, order=order, limit=50)
    plans = plans_of(connection, lambda: read_history(connection, query, Guard()))
    assert len(plans) >= 2
    assert wrong_steps(plans) == {}


def count_plans(connection: sqlite3.Connection, wanted: HistoryFilter) -> dict[str, list[str]]:
    """Of what makes up a window: parts of minutes at both ends, and more minutes than a block has."""
    wanted = msgspec.structs.replace(wanted, since_us=MIDDLE_US - 10**10 + 1, until_us=MIDDLE_US + 10**10 + 1)
    return plans_of(connection, lambda: count_window(connection, wanted, select(connection, wanted)))


@pytest.mark.parametrize("name", SERVED)
def test_a_window_is_counted_without_reading_all(connection: sqlite3.Connection, name: str) -> None:
    """In rollups and indexes, by what is asked for; no row is looked at but those that wait."""
    plans = count_plans(connection, SERVED[name])
    assert len(plans) >= 4
    assert wrong_steps(plans) == {}
    rows = [step for sql, steps in plans.items() if "NOT INDEXED" not in sql for step in steps]
    rows = [step for step in rows if " invocations " in step]
    assert rows
    assert [step for step in rows if "COVERING" not in step] == []


@pytest.mark.parametrize(
    ("name", "searched"),
    [
        ("type", "(error_type=?"),
        ("types, time", "(error_type=?"),
        ("failure", "(error_type=?"),
        ("model, type", "(model=? AND error_type=?"),
        ("model, failure", "(model=? AND error_type=?"),
        ("models, types, time", "(model=? AND error_type=?"),
    ],
)
def test_failures_are_found_by_their_type(connection: sqlite3.Connection, name: str, searched: str) -> None:
    """However many other failures there are; the index has all that a page's keys are made of."""
    query = HistoryQuery(filter=SERVED[name])
    plans = plans_of(connection, lambda: read_history(connection, query, Guard()))
    by_lane = [steps for sql, steps in plans.items() if "RECURSIVE" not in sql]  # which types there are: a few seeks
    found = [step for steps in by_lane for step in steps if step.startswith("SEARCH invocations USING")]
    by_index = [step for step in found if "PRIMARY KEY" not in step]
    assert by_index
    assert [step for step in by_index if searched not in step or "COVERING" not in step] == []


def page_plans(connection: sqlite3.Connection, wanted: HistoryFilter) -> dict[str, list[str]]:
    return plans_of(connection, lambda: read_history(connection, HistoryQuery(filter=wanted, limit=5), Guard()))


@pytest.mark.parametrize("status", [None, "success", "failure"])
def test_a_window_is_counted_in_few_steps_however_many_rows_it_has(
    connection: sqlite3.Connection, status: Status | None
) -> None:
    """The rollups are asked, and parts of two minutes."""
    wanted = HistoryFilter(status=status, since_us=NOW_US - 10**11 + 1, until_us=NOW_US + 1)
    selection = select(connection, wanted)
    assert steps_of(connection, lambda: counts.count(connection, wanted, selection, Guard())) < 3000
    query = "SELECT COUNT(*) FROM invocations WHERE timestamp_us >= ? AND timestamp_us < ?"
    assert steps_of(connection, lambda: connection.execute(query, (wanted.since_us, wanted.until_us)).fetchone()) > 9000


def test_failures_of_many_models_at_an_end_of_a_window_are_found_by_type(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the index of each model and type: nearly all would be looked into for nothing."""
    monkeypatch.setattr(counts, "MANY_MODELS", 2)
    plans = count_plans(connection, HistoryFilter(models=SOME, status="failure"))
    steps = [step for some in plans.values() for step in some]
    assert [step for step in steps if "failures_by_model" in step] == []
    assert [step for step in steps if "failures_by_type (error_type=? AND timestamp_us>" in step]


@pytest.mark.parametrize("models", [(), ONE], ids=["all", "one"])
def test_successes_among_failures_are_found_in_an_index(
    connection: sqlite3.Connection, models: tuple[str, ...]
) -> None:
    """However many failures lie between: none of their rows is looked at."""
    plans = page_plans(connection, HistoryFilter(models=models, status="success"))
    found = [step for sql, steps in plans.items() if "LIMIT" in sql for step in steps if "invocations" in step]
    assert found
    assert [step for step in found if "COVERING INDEX invocations_by_" not in step] == []


def test_failures_of_a_type_are_added_up_without_those_of_others(connection: sqlite3.Connection) -> None:
    """Each model's sum is looked up."""
    steps = [step for some in page_plans(connection, SERVED["type"]).values() for step in some]
    assert "SEARCH error_totals USING PRIMARY KEY (model=? AND error_type=?)" in steps


def test_a_lane_is_read_when_it_is_due(connection: sqlite3.Connection) -> None:
    """Of ten models, those of the two rows that tell a page of one, and no others."""
    query = HistoryQuery(filter=HistoryFilter(models=tuple(map(model_name, range(1, 11)))), limit=1)
    plans = plans_of(connection, lambda: read_history(connection, query, Guard()))
    assert 1 <= len([sql for sql in plans if re.search(r"WHERE model = \d+ .* OFFSET 0", sql)]) <= 3


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_cursor_deep_in_a_window_takes_no_longer(connection: sqlite3.Connection, order: Order) -> None:
    """The rows before it in the window are not passed over one by one: they would take 15,000 steps."""
    wanted = HistoryFilter(since_us=1, until_us=NOW_US + 10**9)
    selection = select(connection, wanted)
    query = HistoryQuery(filter=wanted, order=order, limit=5, after=Position(MIDDLE_US, "5"))
    assert steps_of(connection, lambda: read_keys(connection, selection, query)) < 1000


@pytest.mark.parametrize("models", [(), ONE, SOME], ids=["all", "one", "some"])
def test_rows_that_wait_are_read_and_no_others(connection: sqlite3.Connection, models: tuple[str, ...]) -> None:
    """By their ids. An index of models would give them in the order of groups, after reading all of it."""
    window = align(Window(MIDDLE_US, NOW_US), MINUTE_US)
    plans: dict[str, list[str]] = {}
    for step in (0, 1):
        for ask in (
            Ask(window=window, models=models, step_minutes=step, by=None, percents=(95,)),
            Ask(window=window, models=models, step_minutes=step),
        ):
            plans |= plans_of(connection, partial(read_aggregate, connection, ask))
    waiting = {sql: steps for sql, steps in plans.items() if re.search(r"\bid > \d", sql)}
    assert waiting
    assert [sql for sql, (first, *_) in waiting.items() if "INTEGER PRIMARY KEY" not in first] == []
