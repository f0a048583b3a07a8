"""Reads in a process of their own: bounded in time, ended when nobody waits, and never in the way of commits."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import (
    BusyError,
    HistoryFilter,
    HistoryPage,
    HistoryQuery,
    QueryTooLongError,
    StoreError,
    Term,
)
from metrics_sidecar.history.windows import Window
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.sqlite.guard import STEPS_PER_LOOK, Guard, StepsOverError
from metrics_sidecar.sqlite.history import read_history
from metrics_sidecar.sqlite.questions import Aggregate, One, Page, Question
from metrics_sidecar.sqlite.reader import SEARCHES, SqliteReader, is_search
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from tests.metrics_sidecar.ledgers import record
from tests.metrics_sidecar.sqlite.endless import ENDLESS, told
from tests.processes import children

SLOW = HistoryQuery(filter=HistoryFilter(terms=(Term("latency_us", "least", 1),)))
HOUR = Window(0, 3_600_000_000)

TEN_THOUSAND = f"{ENDLESS[:-29]} SELECT COUNT(*) FROM (SELECT n FROM numbers LIMIT 9999)"
"""So many rows are some looks."""

INSERT = """INSERT INTO invocations (id, model, timestamp_us, latency_us, input_size, output_size)
SELECT {}, model, {}, 3, 4, 5 FROM models"""

OpenReader = Callable[..., SqliteReader]


@pytest.fixture
async def open_reader(tmp_path: Path) -> AsyncIterator[OpenReader]:
    """Reads of a store with one row."""
    store = SqliteWriter(tmp_path / "history.db")
    store.commit(Commit(number=1, now_us=1, records=[record()], totals=aggregate([record()]), label_room=1))
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)

        def open_(timeout_s: float | None = None) -> SqliteReader:
            reader = SqliteReader(tmp_path / "history.db", timeout_s)
            stack.callback(reader.close)
            return reader

        yield open_


@pytest.fixture
def others() -> set[int]:
    """Processes of other tests that are still there."""
    return children(os.getpid())


class Endless:
    """Reads that only their guard ends, and how many there were so far."""

    def __init__(self, path: Path) -> None:
        self._path = told(path)

    @property
    def begun(self) -> int:
        return self._count("begun")

    @property
    def ended(self) -> int:
        return self._count("ended")

    def _count(self, what: str) -> int:
        return self._path.read_text().split().count(what) if self._path.exists() else 0


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Endless:
    """Each page that is asked for takes for ever."""
    monkeypatch.setattr("metrics_sidecar.sqlite.processes.READING", "tests.metrics_sidecar.sqlite.endless")
    monkeypatch.setattr("metrics_sidecar.sqlite.reader.GRACE_S", 60.0)  # a busy machine may take its time
    return Endless(tmp_path / "history.db")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def started(reader: SqliteReader) -> None:
    """Its process is there and answers."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(BusyError):
                await reader.one("1")
                return


async def test_a_long_read_is_ended(open_reader: OpenReader, endless: Endless) -> None:
    """When its time is over its caller is told so, the statement ends, and its process reads on."""
    reader = open_reader(0.5)
    await started(reader)
    for _ in range(SEARCHES + 1):
        with pytest.raises(QueryTooLongError, match=r"^it took longer than 0\.5 s$"):
            await reader.page(SLOW)
    await until(lambda: endless.ended == endless.begun)
    row = await reader.one("1")
    assert row is not None


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_process_that_stands_still_is_replaced(
    others: set[int], open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """As is one that ends: whoever watches is told, and starts another by watching on."""
    monkeypatch.setattr("metrics_sidecar.sqlite.reader.TICK_S", 0.05)
    monkeypatch.setattr("metrics_sidecar.sqlite.processes.STILL_S", 0.3)
    reader = open_reader(1.0)
    await started(reader)
    watching = asyncio.create_task(reader.watch())
    await asyncio.sleep(0.3)  # and answers some times
    pid = reading_process(others)
    os.kill(pid, number)
    with pytest.raises(StoreError, match=r"^the process that reads the history has ended with -9$"):
        await asyncio.wait_for(watching, 30)
    await started(reader)
    assert reading_process(others) != pid


async def test_a_read_ends_when_its_caller_goes(open_reader: OpenReader, endless: Endless) -> None:
    """It takes no more of the machine then."""
    reader = open_reader()
    waiting = asyncio.create_task(reader.page(SLOW))
    await until(lambda: endless.begun == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: endless.ended == 1)


async def test_a_read_whose_caller_went_before_its_turn_is_not_begun(open_reader: OpenReader, endless: Endless) -> None:
    """Nor does it keep its place."""
    reader = open_reader()
    waiting = [asyncio.create_task(reader.page(SLOW)) for _ in range(SEARCHES + 5)]
    await until(lambda: endless.begun == SEARCHES)
    for task in reversed(waiting):
        task.cancel()
    await asyncio.wait(waiting)
    await until(lambda: endless.ended == SEARCHES)
    assert endless.begun == SEARCHES


async def test_reads_that_may_be_long_leave_room_to_others(open_reader: OpenReader, endless: Endless) -> None:
    """However many of them there are, a quick one is answered, and what dashboards ask for is, too."""
    reader = open_reader()
    waiting = [asyncio.create_task(reader.page(SLOW)) for _ in range(SEARCHES * 2)]
    await until(lambda: endless.begun == SEARCHES)
    assert (await reader.aggregate(Ask(models=("m",)))).groups == ["m"]
    assert (await reader.aggregate(Ask(window=HOUR, step_minutes=1, by=None))).window == HOUR
    assert (await reader.aggregate(Ask(window=HOUR))).groups == ["m"]
    assert [task.done() for task in waiting] == [False] * len(waiting)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_read_that_turns_out_to_be_long_leaves_its_place(open_reader: OpenReader, endless: Endless) -> None:
    """A page that is looked for by an index may be far: the reads of its kind don't wait until it is found."""
    reader = open_reader()
    waiting = [asyncio.create_task(reader.page(HistoryQuery())) for _ in range(SEARCHES)]
    await until(lambda: endless.begun - endless.ended == SEARCHES and endless.ended == SEARCHES)
    assert (await reader.aggregate(Ask(models=("m",)))).groups == ["m"]
    assert (await reader.aggregate(Ask(window=HOUR))).groups == ["m"]
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await until(lambda: endless.ended == endless.begun)


async def test_a_read_whose_turn_does_not_come_is_no_long_one(open_reader: OpenReader, endless: Endless) -> None:
    """What its caller is told to change would change nothing."""
    reader = open_reader(0.5)
    await started(reader)
    await asyncio.gather(*(reader.one("1") for _ in range(SEARCHES)))  # now there are as many processes
    waiting = [asyncio.create_task(reader.page(SLOW)) for _ in range(SEARCHES)]
    await until(lambda: endless.begun == SEARCHES)
    others = asyncio.create_task(reader.page(SLOW))
    await asyncio.wait([*waiting, others])
    assert [type(task.exception()) for task in waiting] == [QueryTooLongError] * SEARCHES
    assert repr(others.exception()) == repr(BusyError("it had no turn within 0.5 s"))


@pytest.mark.parametrize(
    ("question", "search"),
    [
        (Page(HistoryQuery(offset=5000)), False),
        (Page(HistoryQuery(offset=5001)), True),
        (Page(SLOW), True),
        (Page(HistoryQuery(filter=HistoryFilter(terms=(Term("error_log", "contains", "x"),)))), True),
        (One("1"), False),
        (Aggregate(Ask(window=HOUR)), False),
        (Aggregate(Ask(window=HOUR, models=("m",), prefixes=("n",))), False),
        (Aggregate(Ask()), False),
        (Aggregate(Ask(window=HOUR, step_minutes=1, by=None)), False),
        (Aggregate(Ask(window=HOUR, step_minutes=1, models=("m",))), False),
        (Aggregate(Ask(window=HOUR, step_minutes=1)), True),
        (Aggregate(Ask(window=HOUR, step_minutes=1, models=("m",), prefixes=("n",))), True),
    ],
)
def test_kinds_of_reads(question: Question, search: bool) -> None:
    """By how long they take on millions of rows of a thousand models."""
    assert is_search(question) == search


async def test_commits_go_on_beside_a_long_read(open_reader: OpenReader, endless: Endless, tmp_path: Path) -> None:
    """A commit is there at once for those who read after it; and once no read is left, the log can be emptied."""
    reader = open_reader()
    waiting = asyncio.create_task(reader.page(SLOW))
    await until(lambda: endless.begun == 1)
    writer = sqlite3.connect(tmp_path / "history.db", isolation_level=None, timeout=0)
    with contextlib.closing(writer):
        writer.execute(INSERT.format(2, 2))
        row = await reader.one("2")
        assert row is not None
        waiting.cancel()
        await asyncio.wait([waiting])
        await until(lambda: endless.ended == 1)
        await until(lambda: writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0))


def test_a_limit_of_steps_ends_a_statement_and_no_later_one(tmp_path: Path) -> None:
    """What needs fewer goes through."""
    guard = Guard()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as connection, guard.watching(connection):
        with pytest.raises(StepsOverError), guard.limited(STEPS_PER_LOOK):
            connection.execute(ENDLESS).fetchone()
        with guard.limited(STEPS_PER_LOOK):
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.execute(TEN_THOUSAND).fetchone() == (9999,)


def test_who_leaves_ends_a_read_within_a_limit(tmp_path: Path) -> None:
    """Who counts only so far is ended like all others when nobody waits, or the time is over."""
    guard = Guard(lambda: "left")
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as connection,
        guard.watching(connection),
        pytest.raises(sqlite3.OperationalError, match="interrupted"),
        guard.limited(10**9),
    ):
        connection.execute(ENDLESS).fetchone()


def test_a_count_that_would_take_long_is_a_lower_bound(
    open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By latency or error log rows are counted one by one: some of them, at least those that are shown."""
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            INSERT.format("?", "?"),
            ((number, number) for number in range(2, 9_001)),
        )
        connection.execute("COMMIT")

        def read(query: HistoryQuery) -> HistoryPage:
            guard = Guard()
            with guard.watching(connection):
                return read_history(connection, query, guard)

        page = read(SLOW)
        assert (page.total_count, page.total_count_is_exact) == (9_000, True)
        monkeypatch.setattr("metrics_sidecar.sqlite.counts.COUNTED_STEPS", 2 * STEPS_PER_LOOK)
        page = read(SLOW)
        assert page.total_count_is_exact is False
        assert 1_000 < page.total_count < 9_000
        page = read(HistoryQuery(filter=SLOW.filter, offset=8_000))
        assert (page.total_count, page.total_count_is_exact) == (8_101, False)


async def test_answers_come_whole_in_whatever_pieces(open_reader: OpenReader, tmp_path: Path) -> None:
    """Megabytes, of which the socket holds a small part, and short answers right behind each other."""
    records = [Record("m", 1, 1000, ErrorType.TIMEOUT, f"{number:04}" * 500) for number in range(500)]
    with contextlib.closing(SqliteWriter(tmp_path / "history.db")) as store:
        store.commit(Commit(number=2, now_us=2, records=records, totals=aggregate(records), label_room=1))
    reader = open_reader()
    pages = HistoryQuery(limit=500, order="asc", offset=1)
    first, last = await asyncio.gather(reader.page(pages), reader.page(pages))
    assert [row.error_log for row in first.rows] == [one.error_log for one in records]
    assert last == first
    short = [asyncio.create_task(reader.one(str(number))) for number in range(2, 52)]
    await asyncio.sleep(0)  # they are asked
    time.sleep(0.3)  # noqa: ASYNC251 - and meanwhile answered, all of them at once
    async with asyncio.timeout(10):
        assert await asyncio.gather(*short) == first.rows[:50]


async def test_a_process_that_dies_is_followed_by_another(
    others: set[int], open_reader: OpenReader, endless: Endless
) -> None:
    """Who waits for it is told so, and who asks then is answered."""
    reader = open_reader()
    waiting = asyncio.create_task(reader.page(HistoryQuery()))
    await until(lambda: endless.begun > 0)
    os.kill(reading_process(others), signal.SIGKILL)
    with pytest.raises(StoreError, match="the process that reads the history has ended with -9"):
        await waiting
    assert await reader.one("1") is not None


async def test_the_process_ends_with_the_sidecar_and_not_before(others: set[int], open_reader: OpenReader) -> None:
    """Signals that are meant for the whole group are left to the sidecar, which still asks while it stops."""
    reader = open_reader()
    await reader.start()
    assert await reader.one("1") is not None
    pids = children(os.getpid()) - others
    for pid in pids:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    await reader.start()
    assert await reader.one("1") is not None
    assert children(os.getpid()) - others == pids != set()
    reader.close()
    assert children(os.getpid()) == others


def reading_process(others: set[int]) -> int:
    """The process that this one has started to read."""
    (pid,) = children(os.getpid()) - others
    return pid
