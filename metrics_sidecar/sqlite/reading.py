"""`python -m metrics_sidecar.sqlite.reading FILE`: answers questions about a history, in a process beside the sidecar.

In the sidecar's own process each read would take the interpreter's lock from the commits, and from all requests, some
thousand times, and an export keep what pyarrow takes. Here it takes nothing from them but the core, where there is only
one. stdin is a socket, on which one question after the other comes and answers go; it ends when the sidecar does.
"""

import contextlib
import gc
import math
import os
import select
import signal
import socket
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from metrics_sidecar.files.exporting import pieces
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import NotBuiltError, StoreError, TooManyModelsError
from metrics_sidecar.sqlite import questions
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.export import opened
from metrics_sidecar.sqlite.guard import Guard, Outcome
from metrics_sidecar.sqlite.history import read_history, read_invocation
from metrics_sidecar.sqlite.questions import Answered, Asked, Found, Question
from metrics_sidecar.sqlite.state import DAMAGE
from shared.clock import Clock, SystemClock
from shared.framing import LENGTH

NICENESS, NICENESS_OF_EXPORTS = 3, 10
"""Where readers and commits share a core, commits go first: beside ten readers their waits are a quarter to a third
shorter so. With 6 they are half as long, but the slowest of a hundred reads takes up to half as long again."""
BLOCK_BYTES = 512 * 1024
"""Of an export sent at once: each wakes the sidecar, which may share a core with this."""
GARBAGE_AFTER_OBJECTS = 200_000
"""An answer is made of some ten thousand objects, none of which refers to itself."""


def answer(connection: sqlite3.Connection, guard: Guard, question: Question) -> Found:
    """As the method of `Reader` that the question is, within the caller's transaction."""
    match question:
        case questions.Page(query):
            return read_history(connection, query, guard)
        case questions.One(row_id):
            return read_invocation(connection, row_id)
        case questions.Aggregate(ask):
            return read_aggregate(connection, ask)
    return None


class Reading:
    """Answers what is asked on a socket, one question at a time."""

    def __init__(self, path: Path, asking: socket.socket, clock: Clock) -> None:
        self._path = path
        self._socket = asking
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def run(self) -> None:
        """Until nobody can ask any more."""
        while (asked := self._receive()) is not None:
            if asked.question is not None:  # otherwise it was answered already
                self._send(self._answer(asked.question, Guard(self._look_out(asked.seconds))))

    def _receive(self) -> Asked | None:
        encoded = self._socket.recv(LENGTH.size, socket.MSG_WAITALL)
        if len(encoded) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(encoded)
        return questions.decode_asked(self._socket.recv(length, socket.MSG_WAITALL))

    def _look_out(self, seconds: float | None) -> Callable[[], Outcome | None]:
        """For the end of these seconds; or for anything that comes meanwhile: then nobody waits any more."""
        until_us = math.inf if seconds is None else self._clock.monotonic_us() + seconds * 1_000_000

        def look() -> Outcome | None:
            if select.select([self._socket], [], [], 0)[0]:
                return "left"
            return "too long" if self._clock.monotonic_us() >= until_us else None

        return look

    def _send(self, answered: Answered) -> None:
        self._socket.sendall(questions.encode(answered))

    def _answer(self, question: Question, guard: Guard) -> Answered:
        try:
            if isinstance(question, questions.Sign):
                return _found(None)
            if isinstance(question, questions.File):
                self._export(question.wanted)
                return _found(None)
            with self._snapshot() as connection, guard.watching(connection):
                return _found(answer(connection, guard, question))
        except NotBuiltError as error:
            return _nothing("not built", str(error))
        except TooManyModelsError as error:
            return _nothing("too many models", str(error))
        except (StoreError, *DAMAGE) as error:
            if guard.outcome is not None:
                return _nothing(guard.outcome)
            return _nothing("store", f"history can't be read: {error}")
        except Exception:  # noqa: BLE001 - a defect must not end unseen: who has asked waits
            return _nothing("defect", traceback.format_exc())

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._connection.execute("BEGIN")
        try:
            yield self._connection
        finally:
            self._connection.execute("COMMIT")

    def _export(self, wanted: Export) -> None:
        _make_way(NICENESS_OF_EXPORTS - NICENESS)
        block = bytearray()
        with opened(self._path) as connection:
            for piece in pieces(connection, wanted):
                block += piece.data
                if len(block) >= BLOCK_BYTES:
                    self._send_piece(block)
                    block.clear()
        self._send_piece(block)

    def _send_piece(self, piece: bytearray) -> None:
        self._send(Answered("piece", "", questions.encode_found(None), len(piece)))
        self._socket.sendall(piece)


def _found(found: Found) -> Answered:
    return Answered("found", "", questions.encode_found(found))


def _nothing(
    outcome: Outcome | Literal["store", "not built", "too many models", "defect"], reason: str = ""
) -> Answered:
    return Answered(outcome, reason, questions.encode_found(None))


def _make_way(niceness: int) -> None:
    with contextlib.suppress(OSError):
        os.nice(niceness)


def main() -> None:
    # Signals are meant for the sidecar, which still asks while it stops.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _make_way(NICENESS)
    gc.set_threshold(GARBAGE_AFTER_OBJECTS)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as asking, contextlib.suppress(OSError):  # nobody asks then
        Reading(Path(sys.argv[1]), asking, SystemClock()).run()


if __name__ == "__main__":
    main()
