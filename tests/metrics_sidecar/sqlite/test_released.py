"""A file that the last release made answers as that release did: rows, totals, windows and series."""

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from metrics_sidecar.api.stats import PERCENTS
from metrics_sidecar.history.aggregate import CALLS, Ask
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.export import opened
from metrics_sidecar.sqlite.filters import find_ids
from metrics_sidecar.sqlite.guard import Guard
from metrics_sidecar.sqlite.history import read_history
from metrics_sidecar.sqlite.state import read_totals_of
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import Record
from tests.metrics_sidecar.sqlite.test_schema import is_sound
from tests.metrics_sidecar.tables import rows_of

RELEASED = Path(__file__).parent / "released"
RETENTION = Retention(rows_us=DAY * MINUTE_US, minutes_us=2 * DAY * MINUTE_US, hours_us=3 * DAY * MINUTE_US)
FIELDS_THEN = 8
"""Of a record."""
MEASURES_THEN = (*CALLS, "input_size", "output_size")
ENDED_US = (29_407_680 + 25) * MINUTE_US
"""When its sidecar was killed, in the middle of making sums of some models."""


def to_totals(connection: sqlite3.Connection, models: list[str], prefixes: list[str]) -> Any:
    found = msgspec.to_builtins(read_totals_of(connection, find_ids(connection, models, prefixes)))
    assert [totals.pop("usage") for totals in found.values()] == [[]] * len(found)
    return found


def to_window(connection: sqlite3.Connection, window: list[int], models: list[str], prefixes: list[str]) -> Any:
    ask = Ask(
        window=Window(*window),
        models=tuple(models),
        prefixes=tuple(prefixes),
        measures=MEASURES_THEN,
        percents=PERCENTS,
        errors=True,
    )
    table = read_aggregate(connection, ask)
    stats = {
        group: [
            *(figures[measure] for measure in MEASURES_THEN),
            figures["errors"],
            [figures[f"p{percent}"] for percent in PERCENTS],
        ]
        for (group, _), figures in rows_of(table).items()
    }
    return [table.window, stats]


def to_series(connection: sqlite3.Connection, query: dict[str, Any]) -> Any:
    percent = query["percent"]
    ask = Ask(
        window=Window(*query["window"]),
        step_minutes=query["step_minutes"],
        models=tuple(query["models"]),
        prefixes=tuple(query["prefixes"]),
        by="model_id" if query["by_model"] else None,
        percents=(percent,) if percent else (),
    )
    table = read_aggregate(connection, ask)
    series: dict[str, list[Any]] = {}
    for (group, minute), figures in rows_of(table).items():
        sums = [figures[measure] for measure in ("success_count", "failure_count", "latency_us")]
        series.setdefault(group, []).append([minute, *sums, figures.get(f"p{percent}")])
    return [table.window, series]


def to_page(connection: sqlite3.Connection, query: dict[str, Any]) -> Any:
    after = query["after"] and [query["after"][0], str(query["after"][1])]
    page = read_history(connection, msgspec.convert({**query, "after": after}, HistoryQuery), Guard())
    rows = [[int(row.id), *msgspec.to_builtins(row)[1 : 1 + FIELDS_THEN]] for row in page.rows]
    next_ = page.next and [page.next.timestamp_us, int(page.next.id)]
    return {**msgspec.structs.asdict(page), "rows": rows, "next": next_}


KINDS: dict[str, Callable[..., Any]] = {
    "Totals": to_totals,
    "InWindow": to_window,
    "Series": to_series,
    "History": to_page,
}


def answers(path: Path, asked: list[Any]) -> list[Any]:
    """To the questions of the release, as plain values, in its words."""
    with opened(path) as connection:
        found = [KINDS[kind](connection, *arguments) for kind, (_, *arguments), _ in asked]
    return [*msgspec.json.decode(msgspec.json.encode(found))]


def tend(store: SqliteWriter, now_us: int) -> None:
    """All there is to do."""
    for waited_s in (0, 120):
        while store.tend(now_us + waited_s * 1_000_000):
            pass
    assert store.upkeep.waiting_rows == 0


def test_a_file_of_schema_8_answers_as_it_did(tmp_path: Path) -> None:
    """Of rows, minutes, hours and days, some of which are all that is left of their time; when opened, when its sums
    are finished, and after a restart. Its gaps, counters and imports are there, and the books agree."""
    path = tmp_path / "history.db"
    path.write_bytes(gzip.decompress((RELEASED / "schema-8.db.gz").read_bytes()))
    asked = msgspec.json.decode(gzip.decompress((RELEASED / "schema-8.answers.json.gz").read_bytes()))
    expected = [answer for *_, answer in asked]
    store = SqliteWriter(path, retention=RETENTION)
    state = store.load()
    assert (state.missing_count, [*state.producers]) == (10, ["d" * 32])
    assert state.counters == {"invoker_requests_rejected_total": {"method": 90, "not_json": 3}}
    assert answers(path, asked) == expected
    assert is_sound(path)
    tend(store, ENDED_US)
    assert answers(path, asked) == expected
    assert is_sound(path)
    store.close()
    store = SqliteWriter(path, retention=RETENTION)
    assert answers(path, asked) == expected
    late = [Record("z", ENDED_US - hours * 60 * MINUTE_US, 9) for hours in (1, 30, 60, 100)]
    store.commit(Planner(store.load()).plan([Work("e" * 32, 1, late)], ENDED_US))
    tend(store, ENDED_US + DAY * MINUTE_US)
    store.close()
    assert is_sound(path)
