"""The log is copied into the file beside commits, which go on whatever holds that up; and it stays short."""

import contextlib
import resource
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.sqlite import checkpoints
from metrics_sidecar.sqlite.checkpoints import Checkpointer
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType
from tests.metrics_sidecar.ledgers import record

LOG_PAGES, MAX_LOG_PAGES = 40, 160
COMMIT_PAGES = 20
"""More than one of `History.commit` writes."""
FRAME_BYTES = 24 + 4096
SQLITE_LOG_PAGES = 1000
"""How long SQLite lets a log get, unless it is told otherwise."""


class History:
    """A store, and what can be seen of its files."""

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        self.path = path
        self.log_path = path.with_name("history.db-wal")
        self.store = SqliteWriter(path, synced=synced)
        self.count = 0

    def commit(self, times: int = 1) -> None:
        """One record each."""
        for _ in range(times):
            self.count += 1
            records = [record(error_type=ErrorType.TIMEOUT, at=self.count)]
            commit = Commit(number=self.count, now_us=1, records=records, totals=aggregate(records), label_room=1)
            self.store.commit(commit)

    def commit_until_longer_than(self, pages: int) -> None:
        self.commit()
        while not self.is_longer_than(pages):
            self.commit()

    def commit_until_log_is_short(self) -> None:
        while self.is_longer_than(LOG_PAGES):
            self.commit()
            pause()

    def is_longer_than(self, pages: int) -> bool:
        return self.log_path.stat().st_size > 32 + pages * FRAME_BYTES

    def rows(self) -> int:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM invocations").fetchone()[0])

    def close(self) -> None:
        self.store.close()


def pause() -> None:
    threading.Event().wait(0.005)


class Held:
    """Passes that do not begin before they may; `order` is what came after what."""

    def __init__(self) -> None:
        self.reached, self.may_go = threading.Event(), threading.Event()
        self.order: list[str] = []
        copy = Checkpointer._copy

        def held(checkpointer: Checkpointer, must: bool) -> tuple[int, bool]:
            self.reached.set()
            self.may_go.wait()
            self.order.append("pass")
            return copy(checkpointer, must)

        self.patched = patch.object(Checkpointer, "_copy", held)


@pytest.fixture(autouse=True)
def short_log() -> Iterator[None]:
    """Few commits make it too long; and what is waited for comes, however slow the machine is."""
    with patch.multiple(
        checkpoints,
        LOG_PAGES=LOG_PAGES,
        MAX_LOG_PAGES=MAX_LOG_PAGES,
        MAX_WAIT_S=60.0,
        PAUSE_LAST_S=0.02,
    ):
        yield


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.db")
    yield history
    history.close()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    with held.patched:
        yield held
        held.may_go.set()


def test_the_file_of_the_log_is_as_long_as_the_log(history: History) -> None:
    """Also after it has started anew, in a file that was longer."""
    with (
        patch.object(checkpoints, "LOG_PAGES", SQLITE_LOG_PAGES),  # no other pass than this one's
        contextlib.closing(sqlite3.connect(history.path, isolation_level=None)) as connection,
    ):
        connection.execute("SELECT COUNT(*) FROM books").fetchone()
        for count in (3, 2, 1):
            history.commit(count)
            _, pages, copied_pages = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert copied_pages == pages  # and so the next commit begins it anew
            assert history.log_path.stat().st_size == 32 + pages * FRAME_BYTES


def test_a_commit_copies_nothing(history: History, held: Held) -> None:
    """However long the log has become: the file stays as it is until a pass is made beside commits."""
    before = history.path.read_bytes()
    with patch.object(checkpoints, "MAX_LOG_PAGES", 2 * SQLITE_LOG_PAGES):
        history.commit_until_longer_than(SQLITE_LOG_PAGES + COMMIT_PAGES)
    assert held.reached.wait(60)
    assert history.path.read_bytes() == before
    held.may_go.set()
    history.commit_until_log_is_short()
    assert history.path.read_bytes() != before
    assert history.rows() == history.count


def test_the_log_starts_anew_while_one_commit_follows_the_other(history: History) -> None:
    """Again and again, so that its file never becomes longer than it may."""
    history.commit(1000)
    assert history.log_path.stat().st_size <= 32 + (MAX_LOG_PAGES + COMMIT_PAGES) * FRAME_BYTES
    assert history.rows() == 1000


def test_a_log_at_its_longest_is_waited_for(history: History, held: Held) -> None:
    """The disk is slower than commits then; the next one comes after the pass, and begins the log anew."""
    history.commit_until_longer_than(MAX_LOG_PAGES)

    def commit() -> None:
        history.commit()
        held.order.append("commit")

    waiting = threading.Thread(target=commit)
    waiting.start()
    waiting.join(0.2)
    held.may_go.set()
    waiting.join()
    assert held.order[0] == "pass"
    assert held.order[-1] == "commit"
    assert not history.is_longer_than(LOG_PAGES)


def test_a_reader_stops_no_commit(history: History) -> None:
    """It keeps what it sees, the log grows meanwhile, which is told once, and starts anew when it has gone."""
    history.commit()
    with capture_logs() as logged, contextlib.closing(sqlite3.connect(history.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        query = "SELECT COUNT(*) FROM invocations"
        assert reader.execute(query).fetchone() == (1,)
        history.commit_until_longer_than(4 * MAX_LOG_PAGES + COMMIT_PAGES)
        assert [entry["event"] for entry in logged] == ["checkpoints.log_too_long"]
        assert reader.execute(query).fetchone() == (1,)
        reader.execute("COMMIT")
        history.commit_until_log_is_short()
    assert [entry["event"] for entry in logged] == ["checkpoints.log_too_long", "checkpoints.log_started_anew"]
    assert history.rows() == history.count


def test_what_fails_is_told_once_and_stops_no_commit(history: History) -> None:
    """Here the file can't grow, but the log can; once the file can, too, passes work again."""
    with contextlib.closing(sqlite3.connect(history.path)) as connection:
        connection.execute(f"CREATE TABLE filling AS SELECT zeroblob({4 * MAX_LOG_PAGES * FRAME_BYTES})")
    history.commit_until_log_is_short()
    limits, limit = resource.getrlimit(resource.RLIMIT_FSIZE), history.path.stat().st_size
    with capture_logs() as logged:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            while not any(entry["event"] == "checkpoints.failed" for entry in logged):
                history.commit()
            history.commit(20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        history.commit_until_log_is_short()
    events = [entry["event"] for entry in logged]
    assert events.count("checkpoints.failed") == 1
    assert events.count("checkpoints.work_again") == 1
    assert history.rows() == history.count


def test_a_close_leaves_one_file(history: History, held: Held) -> None:
    """With all that was committed; not before the pass that is being made has ended. Idempotent."""
    history.commit_until_longer_than(LOG_PAGES)
    assert held.reached.wait(60)
    threading.Timer(0.05, held.may_go.set).start()
    history.store.close()
    assert held.order == ["pass"]
    history.store.close()
    assert [path.name for path in history.path.parent.iterdir()] == ["history.db"]
    assert history.rows() == history.count


@pytest.mark.parametrize(("synced", "level"), [(False, 1), (True, 2)])
def test_the_log_is_synced_before_it_is_copied(tmp_path: Path, synced: bool, level: int) -> None:
    """SQLite does so, and syncs the file before the log starts anew, unless it is told not to."""
    history = History(tmp_path / "history.db", synced=synced)
    connection = history.store._checkpoints._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    history.close()


def test_a_defect_does_not_end_the_thread(history: History) -> None:
    """It shows, and passes go on."""
    with patch.object(Checkpointer, "_copy", side_effect=ValueError("a defect")):
        history.commit_until_longer_than(LOG_PAGES)
        while not history.store.failures:
            history.commit()
        assert history.store.failures == ["the history's log can't be copied into its file: ValueError: a defect"]
    history.commit_until_log_is_short()
    assert history.store.failures == []
