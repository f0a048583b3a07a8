"""The backends that the contract holds for, and how each is made."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from metrics_sidecar.history.backend import Backend
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite import books, retention, rollup_writer
from metrics_sidecar.sqlite.backend import SqliteBackend

Factory = Callable[[Path, Retention], Backend]
"""Makes the backend of one history, which is named by a directory that is there: the same one, the same history. Where
its reader is an engine of its own, what is committed is shipped there before it answers."""

InSmallPieces = Callable[[], contextlib.AbstractContextManager[None]]
"""While it lasts, a backend does with few rows whatever it does with many."""


def make_sqlite(directory: Path, kept: Retention) -> SqliteBackend:
    return SqliteBackend(directory / HISTORY_FILE, retention=kept)


@contextlib.contextmanager
def sqlite_in_small_pieces() -> Iterator[None]:
    with (
        patch.multiple(
            rollup_writer,
            MIN_WAITING_ROWS=15,
            ROWS_PER_GROUP=1,
            ROWS_PER_GROUP_BUSY=1,
            MAX_WAITING_ROWS=64,
            ROWS_READ_AT_ONCE=30,
            SPREAD_ROWS_AT_ONCE=20,
        ),
        patch.object(retention, "ROWS_AT_ONCE", 20),
        patch.object(books, "ROWS_AT_ONCE", 500),
        patch("metrics_sidecar.sqlite.processes.READING", "tests.metrics_sidecar.sqlite.small_reading"),
        patch("metrics_sidecar.sqlite.reader.DEEP", 3),
    ):
        yield


BACKENDS: Mapping[str, Factory] = {"sqlite": make_sqlite}
IN_SMALL_PIECES: Mapping[str, InSmallPieces] = {"sqlite": sqlite_in_small_pieces}
