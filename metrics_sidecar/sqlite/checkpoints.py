"""Copies SQLite's log into the file, on a thread and a connection of its own, beside commits and readers.

SQLite itself would do it within the commit that makes the log too long, which then takes tens of milliseconds. The
log starts anew with the first transaction that finds all of it copied and no reader in it. While one commit follows
the other there may be no such moment: so passes are made until one is short, and then the next transaction gives way
to the pass for what has come in since. A reader in an old state of the file holds up passes, and no transaction: only
when the log is several times as long as it should be, is it waited for, a moment.
"""

import contextlib
import math
import sqlite3
import threading
from pathlib import Path

from shared import logs

FRAME_HEADER_BYTES = 24
"""Of each page in the log."""
LOG_PAGES = 8000
"""How long the log may get until it is copied (32 MB): a page that many transactions change is copied once."""
MAX_LOG_PAGES = 4 * LOG_PAGES
"""How long until transactions wait for the copy, and the copy for readers. If in vain: until it is twice as long."""
GIVE_WAY_S, GIVE_WAY_PER_RECORD_S = 0.005, 12e-6
"""A transaction waits no longer than this or, with many records, than it takes itself."""
PASS_PER_PAGE_S = 16e-6
"""About what a pass takes, syncs included: none is waited for that will take longer than a transaction waits."""
MAX_WAIT_S = 1.0
"""Of a transaction, when the log is at its longest: it is the disk then that is too slow."""
WAIT_FOR_READERS_S = 0.05
PAUSE_FIRST_S, PAUSE_LAST_S = 0.005, 1.0
"""After a pass that was held up, or failed."""

log = logs.get("checkpoints")


class Checkpointer:
    """`give_way` and `committed` are the writer's, before and after each of its transactions; neither raises. A pass
    that fails is told once, holds up no transaction, and is tried again."""

    def __init__(self, path: Path, *, synchronous: str) -> None:
        """Of a database that is open in WAL mode, by a connection that cuts the log's file when the log starts anew: so
        the file is as long as the log. `sqlite3.Error` if it can't be opened once more."""
        self._log = path.with_name(f"{path.name}-wal")
        self._connection = sqlite3.connect(
            path, timeout=WAIT_FOR_READERS_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
            self._frame_bytes: int = FRAME_HEADER_BYTES + page_bytes
        except BaseException:
            self._connection.close()
            raise
        self._changed = threading.Condition()
        self._asked = self._answered = 0
        self._is_due = self._must = self._closing = False
        self._max_pages = MAX_LOG_PAGES
        self._copied_pages = 0
        self._expected_s = math.inf
        self._pause_s = PAUSE_FIRST_S
        self._is_told = False
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def give_way(self, record_count: int = 0) -> None:
        """Let the pass that was asked for end first, if that will be soon or has become necessary. A transaction of
        so many records is to come."""
        if self._asked == self._answered:
            return
        patience_s = MAX_WAIT_S if self._must else GIVE_WAY_S + GIVE_WAY_PER_RECORD_S * record_count
        if self._must or self._expected_s <= patience_s:
            with self._changed:
                if not self._changed.wait_for(lambda: self._asked == self._answered, patience_s):
                    self._expected_s = math.inf  # the next transaction doesn't wait for the same pass

    def committed(self) -> None:
        """Ask for a pass, if the log has become too long."""
        if not self._is_longer_than(LOG_PAGES):
            self._is_due = False
            self._note_short()
            return
        with self._changed:
            if not self._is_due:
                self._begin()
            self._must = self._must or self._is_longer_than(self._max_pages)
            self._asked += 1
            self._changed.notify_all()

    def close(self) -> None:
        """After the pass that is being made. Idempotent."""
        if self._closing:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._connection.close()

    def _is_longer_than(self, pages: int) -> bool:
        with contextlib.suppress(OSError):  # what is committed stays so
            return self._log.stat().st_size > pages * self._frame_bytes
        return False

    def _begin(self) -> None:
        """The log has started anew since the last pass."""
        self._is_due = True
        self._must = False
        self._max_pages = MAX_LOG_PAGES
        self._copied_pages = 0
        self._expected_s = math.inf

    def _note_short(self) -> None:
        if self._is_told:
            log.info("checkpoints.log_started_anew")
        self._is_told = False

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._asked != self._answered)
                if self._closing:
                    return
                asked, must = self._asked, self._must
            try:
                pages, is_complete = self._copy(must)
                self._note_failure(None)
            except Exception as error:  # noqa: BLE001 - a defect must not end the thread unseen, either
                pages, is_complete = 0, False
                self._note_failure(f"{type(error).__name__}: {error}")
            with self._changed:
                self._answered = asked
                self._settle(pages, is_complete, must)
                self._changed.notify_all()
                if not is_complete:
                    self._changed.wait_for(lambda: self._closing or self._must, self._pause_s)

    def _copy(self, must: bool) -> tuple[int, bool]:
        """One pass: how many pages of the log are in the file, and whether that is all there were when it began. If
        it must be all, transactions wait for it meanwhile, and it for readers, a moment."""
        query = f"PRAGMA wal_checkpoint({'RESTART' if must else 'PASSIVE'})"
        busy, pages, copied_pages = self._connection.execute(query).fetchone()
        return copied_pages, not busy and copied_pages == pages

    def _settle(self, pages: int, is_complete: bool, must: bool) -> None:
        new_pages, self._copied_pages = pages - self._copied_pages, pages
        self._expected_s = new_pages * PASS_PER_PAGE_S if is_complete else math.inf
        self._pause_s = PAUSE_FIRST_S if is_complete else min(self._pause_s * 2, PAUSE_LAST_S)
        if must:
            self._must = False
            if not is_complete:
                self._note_long()

    def _note_long(self) -> None:
        if not self._is_told:
            log.warning("checkpoints.log_too_long", pages=self._max_pages, reason=self.failure or "it is being read")
        self._is_told = True
        self._max_pages *= 2

    def _note_failure(self, reason: str | None) -> None:
        if reason and not self.failure:
            log.warning("checkpoints.failed", reason=reason)
        elif self.failure and not reason:
            log.info("checkpoints.work_again")
        self.failure = reason
