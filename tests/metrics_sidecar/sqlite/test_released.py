"""A file that the last release made answers as that release did: rows, totals, windows and series."""

import gzip
from pathlib import Path
from typing import Any

import msgspec

from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.rollups import DAY, MINUTE_US
from metrics_sidecar.history.windows import SeriesQuery, Window
from metrics_sidecar.ledger.transaction import Planner, Work
from metrics_sidecar.sqlite.queries import SqliteQueries
from metrics_sidecar.sqlite.sqlite import SqliteStore
from shared.record import Record
from tests.metrics_sidecar.sqlite.test_schema import is_sound

RELEASED = Path(__file__).parent / "released"
RETENTION = Retention(rows_us=DAY * MINUTE_US, minutes_us=2 * DAY * MINUTE_US, hours_us=3 * DAY * MINUTE_US)
ENDED_US = (29_407_680 + 25) * MINUTE_US
"""When its sidecar was killed, in the middle of making sums of some models."""


async def answers(path: Path, asked: list[Any]) -> list[Any]:
    """To the questions of the release, as plain values."""
    queries = SqliteQueries(path)
    found: list[Any] = []
    for kind, (_, *arguments), _ in asked:
        match kind:
            case "Totals":
                found.append(await queries.totals(*arguments))
            case "InWindow":
                window, *whose = arguments
                found.append(await queries.window(Window(*window), *whose))
            case "Series":
                found.append(await queries.series(msgspec.convert(arguments[0], SeriesQuery)))
            case "History":
                found.append(await queries.history(msgspec.convert(arguments[0], HistoryQuery)))
    queries.close()
    return [*msgspec.json.decode(msgspec.json.encode(found))]


def tend(store: SqliteStore, now_us: int) -> None:
    """All there is to do."""
    for waited_s in (0, 120):
        while store.tend(now_us + waited_s * 1_000_000):
            pass
    assert store.upkeep.waiting_rows == 0


async def test_a_file_of_schema_8_answers_as_it_did(tmp_path: Path) -> None:
    """Of rows, minutes, hours and days, some of which are all that is left of their time; when opened, when its sums
    are finished, and after a restart. Its gaps, counters and imports are there, and the books agree."""
    path = tmp_path / "history.db"
    path.write_bytes(gzip.decompress((RELEASED / "schema-8.db.gz").read_bytes()))
    asked = msgspec.json.decode(gzip.decompress((RELEASED / "schema-8.answers.json.gz").read_bytes()))
    expected = [answer for *_, answer in asked]
    store = SqliteStore(path, retention=RETENTION)
    state = store.load()
    assert (state.missing_count, [*state.producers]) == (10, ["d" * 32])
    assert state.counters == {"invoker_requests_rejected_total": {"method": 90, "not_json": 3}}
    assert await answers(path, asked) == expected
    assert is_sound(path)
    tend(store, ENDED_US)
    assert await answers(path, asked) == expected
    assert is_sound(path)
    store.close()
    store = SqliteStore(path, retention=RETENTION)
    assert await answers(path, asked) == expected
    late = [Record("z", ENDED_US - hours * 60 * MINUTE_US, 9) for hours in (1, 30, 60, 100)]
    store.commit(Planner(store.load()).plan([Work("e" * 32, 1, late)], ENDED_US))
    tend(store, ENDED_US + DAY * MINUTE_US)
    store.close()
    assert is_sound(path)
