"""Which buckets and rows make up a stretch of time, while they are being built and after some were removed."""

import contextlib
import sqlite3
from pathlib import Path
from random import Random

import pytest

from metrics_sidecar.history.aggregate import MEASURES
from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US, Window
from metrics_sidecar.sqlite.buckets import LEVELS, Segment
from metrics_sidecar.sqlite.rollups import Progress, Table, read_progress
from metrics_sidecar.sqlite.writer import SqliteWriter

NOTHING_BUILT = dict.fromkeys(LEVELS[1:], 0)
ALL_BUILT = dict.fromkeys(LEVELS[1:], 100 * DAY)
SOME_BUILT = {HOUR: 3 * DAY + 130, DAY: 2 * DAY + 2 * HOUR}
PROGRESS = Progress(10, 3, 3, ALL_BUILT, Kept())


def test_a_row_waits_or_is_rolled_up() -> None:
    """Never both: those up to the last one, and those beyond it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER)")
        connection.executemany("INSERT INTO rows VALUES (?)", [(9,), (10,), (11,)])
        found = [
            connection.execute(f"SELECT id FROM rows WHERE {where}", arguments).fetchall()
            for where, arguments in (PROGRESS.rolled_up, PROGRESS.waiting)
        ]
    assert found == [[(9,), (10,)], [(11,)]]
    assert PROGRESS.is_complete
    assert not PROGRESS._replace(older_id=2).is_complete


@pytest.mark.parametrize(
    ("since_us", "until_us", "expected"),
    [
        (4 * DAY * MINUTE_US, 4 * DAY * MINUTE_US + 1, (4 * DAY * MINUTE_US, 4 * DAY * MINUTE_US + 1)),
        (4 * DAY * MINUTE_US - 1, 5 * DAY * MINUTE_US + 1, ((4 * DAY - 1) * MINUTE_US, 5 * DAY * MINUTE_US + 1)),
        (3 * DAY * MINUTE_US + 1, 4 * DAY * MINUTE_US - 1, (3 * DAY * MINUTE_US, 4 * DAY * MINUTE_US)),
        (3 * DAY * MINUTE_US - 1, 3 * DAY * MINUTE_US + 1, ((3 * DAY - HOUR) * MINUTE_US, (3 * DAY + 1) * MINUTE_US)),
        (2 * DAY * MINUTE_US + 1, 3 * DAY * MINUTE_US - 1, (2 * DAY * MINUTE_US, 3 * DAY * MINUTE_US)),
        (2 * DAY * MINUTE_US - 1, 2 * DAY * MINUTE_US + 1, (DAY * MINUTE_US, (2 * DAY + HOUR) * MINUTE_US)),
        (1, 2, (0, DAY * MINUTE_US)),
    ],
)
def test_an_end_among_what_is_gone_is_moved_outwards(since_us: int, until_us: int, expected: tuple[int, int]) -> None:
    """To whole minutes, hours or days, by what is kept of it; each end for itself."""
    progress = PROGRESS._replace(kept=Kept(4 * DAY, 3 * DAY, 2 * DAY, 0))
    assert progress.round(Window(since_us, until_us)) == Window(*expected)


@pytest.mark.parametrize(
    ("built", "kept"),
    [
        (NOTHING_BUILT, Kept()),
        (ALL_BUILT, Kept()),
        (ALL_BUILT, Kept(3 * DAY, 2 * DAY + HOUR, 2 * DAY)),
        (SOME_BUILT, Kept()),
        (SOME_BUILT, Kept(DAY, DAY)),
    ],
)
def test_segments_make_up_their_minutes(built: dict[int, int], kept: Kept) -> None:
    """Each once; of levels that are built so far, and kept so long."""
    progress = PROGRESS._replace(built=built, kept=kept)
    random = Random(1)
    for _ in range(60):
        start, end = sorted(random.sample(range(kept.minutes, 4 * DAY), 2))
        covered: list[int] = []
        for level, since, until in progress.segments(start, end):
            assert since % level == until % level == 0 or until == progress.built[level]
            assert level == 1 or until <= progress.built[level]
            covered += range(since, until)
        assert covered == [*range(start, end)]


def test_what_is_no_longer_kept_is_told_by_larger_buckets() -> None:
    """From days on, then hours, then minutes."""
    progress = PROGRESS._replace(kept=Kept(4 * DAY, 3 * DAY + HOUR, 2 * DAY))
    expected = [
        Segment(DAY, 0, 2 * DAY),
        Segment(DAY, 2 * DAY, 3 * DAY),
        Segment(HOUR, 3 * DAY, 3 * DAY + HOUR),
        Segment(HOUR, 3 * DAY + HOUR, 3 * DAY + 2 * HOUR),
        Segment(1, 3 * DAY + 2 * HOUR, 3 * DAY + 2 * HOUR + 11),
    ]
    assert progress.segments(0, 3 * DAY + 2 * HOUR + 11) == expected
    assert progress.segments(0, 3 * DAY, [HOUR, DAY]) == expected[:2]
    assert progress.segments(2 * DAY, 2 * DAY) == []


@pytest.mark.parametrize(
    ("level", "block", "length", "begins"),
    [(1, "block", 10, 120), (HOUR, "bucket", 60, 120), (DAY, "bucket", DAY, 0)],
)
def test_a_table_has_blocks(level: int, block: str, length: int, begins: int) -> None:
    """Of one bucket, but of the first level ten."""
    table = Table(level)
    assert (table.name, table.block, table.block_length) == (f"rollups_{level}", block, length)
    assert table.key == ("block, model, bucket" if level == 1 else "bucket, model")
    assert [table.block_of(minute) for minute in (119, 120, 129)] == [120 - length if begins else 0, begins, begins]
    assert table.bounds(Segment(level, 125, 200)) == {"first": begins, "start": 125, "end": 200}


def test_of_many_blocks_those_are_listed_that_there_are(tmp_path: Path) -> None:
    """Of few, all."""
    store = SqliteWriter(tmp_path / "history.db")
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    for minute in (5, 10, 19, 40, 50, 59, 60):
        connection.execute(
            f"""INSERT INTO rollups_1 (block, bucket, model, {", ".join(MEASURES)}, sketch)
            VALUES (?, ?, 1{", 1" * len(MEASURES)}, x'')""",
            (minute // 10 * 10, minute),
        )
    table, segment = Table(1), Segment(1, 10, 60)
    assert table.list_blocks(connection, segment, 5) == "[10, 20, 30, 40, 50]"
    assert table.list_blocks(connection, segment, 4) == "[10,40,50]"
    assert table.list_blocks(connection, Segment(1, 20, 40), 0) == "[]"
    within = f"SELECT bucket FROM rollups_1 WHERE {table.within()} ORDER BY bucket"
    assert [*connection.execute(within, table.bounds(Segment(1, 10, 59)))] == [(10,), (19,), (40,), (50,)]
    connection.execute("UPDATE rollup_progress SET last_id = 1, older_id = 2, older_end_id = 3, rows_from = 6")
    connection.execute("UPDATE rollup_levels SET bucket = level + 1, kept_from = level")
    assert read_progress(connection) == Progress(
        last_id=1,
        older_id=2,
        older_end_id=3,
        built={level: level + 1 for level in LEVELS[1:]},
        kept=Kept(6, 1, HOUR, DAY),
    )
    connection.close()
    store.close()
