"""Which buckets and rows make up a stretch of time, while they are being built and after some were removed."""

import sqlite3
from pathlib import Path
from random import Random

import pytest

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.rollups import DAY, HOUR, LEVELS, MINUTE_US, Segment
from metrics_sidecar.history.windows import Window
from metrics_sidecar.sqlite.rollups import Built, Progress, Table, nearest, read_progress
from metrics_sidecar.sqlite.sqlite import SqliteStore

NOTHING_BUILT = dict.fromkeys(LEVELS[1:], Built(0))
ALL_BUILT = dict.fromkeys(LEVELS[1:], Built(100 * DAY))
PROGRESS = Progress(10, 3, 3, 0, 0, ALL_BUILT, Kept())


def test_how_far_a_level_is() -> None:
    """While it is built further: more of the models that are through, and to read it, as far as all are."""
    built = Built(70, 5, 120)
    assert [built.before(model) for model in (4, 5, 6)] == [120, 120, 70]
    assert Built(70).before(0) == 70
    assert Built(0) == Built(0, -1, 0)
    levels = {10: Built(75), HOUR: Built(75, 0, 80), 6 * HOUR: Built(360, -1, 400), DAY: Built(DAY + 1, 3, 2 * DAY)}
    assert PROGRESS._replace(built=levels).built_until == {10: 75, HOUR: 60, 6 * HOUR: 360, DAY: DAY}
    assert PROGRESS.is_complete
    assert not PROGRESS._replace(older_id=2).is_complete


@pytest.mark.parametrize(("ahead_id", "ahead_model"), [(0, 0), (20, 1), (20, 2), (20, 3)])
@pytest.mark.parametrize("together", [True, False])
def test_a_row_waits_or_is_rolled_up(ahead_id: int, ahead_model: int, together: bool) -> None:
    """Never both: those up to the last one, and of the models that are through, up to where it is being done."""
    progress = PROGRESS._replace(ahead_id=ahead_id, ahead_model=ahead_model)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE rows (id INTEGER, model INTEGER)")
    rows = [(row_id, model) for row_id in (9, 10, 11, 19, 20, 21) for model in (1, 2, 3)]
    connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
    found = []
    for condition, arguments in (progress.waiting(together=together), progress.rolled_up(together=together)):
        found.append({*connection.execute(f"SELECT id, model FROM rows WHERE {condition}", arguments)})
    waiting, rolled_up = found
    until = {model: 20 if model <= ahead_model and not together else 10 for model in (1, 2, 3)}
    assert rolled_up == {(row_id, model) for row_id, model in rows if row_id <= until[model]}
    assert waiting == {*rows} - rolled_up
    connection.close()


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
        ({10: Built(3 * DAY + 125), HOUR: Built(3 * DAY + 120), 6 * HOUR: Built(3 * DAY), DAY: Built(2 * DAY)}, Kept()),
        (
            {10: Built(3 * DAY + 125), HOUR: Built(3 * DAY + 120), 6 * HOUR: Built(3 * DAY), DAY: Built(2 * DAY)},
            Kept(DAY, DAY),
        ),
    ],
)
def test_segments_make_up_their_minutes(built: dict[int, Built], kept: Kept) -> None:
    """Each once, if the signed ones are added up; of levels that are built so far, and kept so long."""
    progress = PROGRESS._replace(built=built, kept=kept)
    random = Random(1)
    for _ in range(60):
        start, end = sorted(random.sample(range(kept.minutes, 4 * DAY), 2))
        for segments in ([(1, one) for one in progress.segments(start, end)], progress.signed_segments(start, end)):
            steps = [0] * (8 * DAY)
            for sign, (level, since, until) in segments:
                assert since < until
                assert since % level == until % level == 0 or until == progress.built_until[level]
                assert since >= kept.minutes
                assert level == 1 or until <= progress.built_until[level]
                steps[since] += sign
                steps[until] -= sign
            total, covered = 0, set()
            for minute, step in enumerate(steps):
                total += step
                assert total in (0, 1)
                if total:
                    covered.add(minute)
            assert covered == {*range(start, end)}


def test_what_is_no_longer_kept_is_told_by_larger_buckets() -> None:
    """From days on, then hours, then minutes; and the signed ones are these where they would reach back so far."""
    progress = PROGRESS._replace(kept=Kept(4 * DAY, 3 * DAY + HOUR, 2 * DAY))
    expected = [
        Segment(DAY, 0, 2 * DAY),
        Segment(DAY, 2 * DAY, 3 * DAY),
        Segment(HOUR, 3 * DAY, 3 * DAY + HOUR),
        Segment(HOUR, 3 * DAY + HOUR, 3 * DAY + 2 * HOUR),
        Segment(10, 3 * DAY + 2 * HOUR, 3 * DAY + 2 * HOUR + 10),
        Segment(1, 3 * DAY + 2 * HOUR + 10, 3 * DAY + 2 * HOUR + 11),
    ]
    assert progress.segments(0, 3 * DAY + 2 * HOUR + 11) == expected
    assert progress.signed_segments(0, 3 * DAY + 2 * HOUR + 11) == [(1, segment) for segment in expected]
    assert progress.segments(0, 3 * DAY, [HOUR, DAY]) == expected[:2]
    assert progress.segments(2 * DAY, 2 * DAY) == []


def test_signed_segments_are_fewer() -> None:
    """What is short of a larger bucket is taken from it."""
    assert PROGRESS.signed_segments(DAY - 1, 2 * DAY + 1) == [
        (1, Segment(1, DAY - 1, DAY)),
        (1, Segment(1, 2 * DAY, 2 * DAY + 1)),
        (1, Segment(DAY, DAY, 2 * DAY)),
    ]
    assert PROGRESS.signed_segments(DAY + 1, 2 * DAY - 1) == [
        (-1, Segment(1, DAY, DAY + 1)),
        (-1, Segment(1, 2 * DAY - 1, 2 * DAY)),
        (1, Segment(DAY, DAY, 2 * DAY)),
    ]
    kept = PROGRESS._replace(kept=Kept(DAY, DAY, DAY))
    assert kept.signed_segments(DAY + 1, DAY + 25)[0] == (-1, Segment(1, DAY, DAY + 1))


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (4, 0), (5, 10), (9, 10), (10, 10), (14, 10), (15, 20)])
def test_the_nearest_multiple(value: int, expected: int) -> None:
    """The later one of two that are as near."""
    assert nearest(value, 10) == expected
    assert nearest(value, 1) == value


@pytest.mark.parametrize(
    ("level", "block", "length", "begins"),
    [(1, "block", 10, 120), (10, "bucket", 10, 120), (HOUR, "bucket", 60, 120), (6 * HOUR, "bucket", 360, 0)],
)
def test_a_table_has_blocks(level: int, block: str, length: int, begins: int) -> None:
    """Of one bucket, but of the first level ten."""
    table = Table(level)
    assert (table.name, table.block, table.block_length) == (f"rollups_{level}", block, length)
    assert table.key == ("block, model, bucket" if level == 1 else "bucket, model")
    assert table.counts_index == ("" if level == 1 else f"INDEXED BY counts_{level}")
    assert [table.block_of(minute) for minute in (119, 120, 129)] == [120 - length if begins else 0, begins, begins]
    assert [*table.blocks(125, begins + 2 * length)] == [begins, begins + length]
    assert [*table.blocks(125, begins + 2 * length + 1)][-1] == begins + 2 * length
    assert table.bounds(Segment(level, 125, 200), "x") == {"firstx": begins, "startx": 125, "endx": 200}


def test_of_many_blocks_those_are_listed_that_there_are(tmp_path: Path) -> None:
    """Of few, all."""
    store = SqliteStore(tmp_path / "history.db")
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    for minute in (5, 10, 19, 40, 50, 59, 60):
        connection.execute(
            "INSERT INTO rollups_1 VALUES (?, ?, 1, 1, 0, 1, 1, 1, 1, 1, 1, NULL, x'')", (minute // 10 * 10, minute)
        )
    table, segment = Table(1), Segment(1, 10, 60)
    assert table.list_blocks(connection, segment, 5) == "[10, 20, 30, 40, 50]"
    assert table.list_blocks(connection, segment, 4) == "[10,40,50]"
    assert table.list_blocks(connection, Segment(1, 20, 40), 0) == "[]"
    within = f"SELECT bucket FROM rollups_1 WHERE {table.within()} ORDER BY bucket"
    assert [*connection.execute(within, table.bounds(Segment(1, 10, 59)))] == [(10,), (19,), (40,), (50,)]
    marked = f"SELECT bucket FROM rollups_1 WHERE {table.within('a')} ORDER BY bucket"
    assert [*connection.execute(marked, table.bounds(Segment(1, 11, 19), "a"))] == []
    connection.execute(
        "UPDATE rollup_progress SET last_id = 1, older_id = 2, older_end_id = 3, ahead_id = 4, ahead_model = 5, "
        "rows_from = 6"
    )
    connection.execute(
        "UPDATE rollup_levels SET bucket = level + 1, model = level + 2, until = level + 3, kept_from = level"
    )
    assert read_progress(connection) == Progress(
        last_id=1,
        older_id=2,
        older_end_id=3,
        ahead_id=4,
        ahead_model=5,
        built={level: Built(level + 1, level + 2, level + 3) for level in LEVELS[1:]},
        kept=Kept(6, 1, HOUR, DAY),
    )
    connection.close()
    store.close()
