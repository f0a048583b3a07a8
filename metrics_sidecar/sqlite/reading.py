"""`python -m metrics_sidecar.sqlite.reading FILE`: answers questions about a history, in a process beside the sidecar.

In the sidecar's own process each read would take the interpreter's lock from the commits, and from all requests, some
thousand times. Here it takes nothing from them but the core, where there is only one. stdin is a socket, on which
questions come and answers go; it ends when the sidecar does.
"""

import contextlib
import gc
import os
import signal
import socket
import sqlite3
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from metrics_sidecar.history.queries import NotBuiltError, StoreError, TooManyModelsError
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.sqlite import questions
from metrics_sidecar.sqlite.filters import find_ids
from metrics_sidecar.sqlite.guard import Guard, StepsOverError
from metrics_sidecar.sqlite.history import read_history, read_invocation
from metrics_sidecar.sqlite.questions import Answered, Asked, Found, Question
from metrics_sidecar.sqlite.state import DAMAGE, read_totals, read_totals_by_label
from metrics_sidecar.sqlite.windows import read_series, read_window
from shared.record import OVERFLOW_MODEL_ID


class Kind(NamedTuple):
    """Reads that take about as long have threads of their own, so that they wait for none that takes longer; without
    any, they are read where questions are taken. One that turns out to need more steps of SQLite's than these is begun
    anew as one of the next kind."""

    name: str
    threads: int
    steps: int


KINDS = (
    # Milliseconds, a tenth of which is what it takes to hand them to another thread.
    Kind("quick", 0, 250_000),
    # Tens of milliseconds.
    Kind("sums", 2, 10_000_000),
    # Seconds, most of them SQLite's.
    Kind("search", 2, sys.maxsize),
)
QUICK, SUMS, SEARCH = range(len(KINDS))

NICENESS = 3
"""Where readers and commits share a core, commits go first: beside ten readers their waits are a quarter to a third
shorter so. With 6 they are half as long, but the slowest of a hundred reads takes up to half as long again."""
FEW_MODELS = 16
DEEP = 5000
"""Rows to skip: each is passed over."""
SWITCH_INTERVAL_S = 0.0005
"""How long a quick read waits at most for Python of a long one."""

GARBAGE_AFTER_OBJECTS = 200_000


def kind_of(question: Question) -> int:
    """As far as it tells."""
    match question:
        case questions.History(query) if query.filter.reads_rows or query.offset > DEEP:
            return SEARCH
        case questions.InWindow(models=models, prefixes=prefixes) | questions.Totals(models=models, prefixes=prefixes):
            return QUICK if 0 < len(models) <= FEW_MODELS and not prefixes else SUMS
        case questions.Series(query):
            return SEARCH if query.by_model and (query.prefixes or not query.models) else SUMS
    return QUICK


def answer(connection: sqlite3.Connection, guard: Guard, question: Question) -> Found:
    """As the method of `Queries` that the question is, within the caller's transaction."""
    match question:
        case questions.History(query):
            return read_history(connection, query, guard)
        case questions.Invocation(row_id):
            return read_invocation(connection, row_id)
        case questions.Totals(models, prefixes):
            return _read_totals(connection, find_ids(connection, models, prefixes))
        case questions.InWindow(window, models, prefixes):
            return read_window(connection, window, find_ids(connection, models, prefixes))
        case questions.Series(query):
            models = find_ids(connection, query.models, query.prefixes)
            return read_series(connection, msgspec.structs.replace(query, models=models))


def _read_totals(connection: sqlite3.Connection, models: Sequence[str]) -> dict[str, ModelTotals]:
    if not models:
        return read_totals_by_label(connection)
    found = {model: read_totals(connection, model) for model in models}
    if OVERFLOW_MODEL_ID in found:  # no true model: only its label has totals
        found[OVERFLOW_MODEL_ID] = read_totals_by_label(connection).get(OVERFLOW_MODEL_ID)
    return {model: totals for model, totals in found.items() if totals is not None}


class Reading:
    """Answers what is asked on a socket. Each of its threads has a connection of its own to the history."""

    def __init__(self, path: Path, asking: socket.socket) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._socket = asking
        self._sending = threading.Lock()
        self._local = threading.local()
        self._guards: dict[int, Guard] = {}
        self._pools = [ThreadPoolExecutor(kind.threads, kind.name) if kind.threads else None for kind in KINDS]

    def run(self) -> None:
        """Until nobody can ask any more."""
        with self._socket.makefile("rb") as stream:
            while len(length := stream.read(questions.LENGTH.size)) == questions.LENGTH.size:
                self._take(questions.decode_asked(stream.read(*questions.LENGTH.unpack(length))))

    def _take(self, asked: Asked) -> None:
        if asked.number == questions.SIGN:
            self._send(_without_found(asked.number, "begun"), Guard())
            return
        if asked.question is None:
            if guard := self._guards.get(asked.number):
                guard.stop()
            return
        guard = self._guards[asked.number] = Guard()
        self._submit(asked.number, asked.question, guard, kind_of(asked.question))

    def _submit(self, number: int, question: Question, guard: Guard, kind: int) -> None:
        if pool := self._pools[kind]:
            pool.submit(self._answer, number, question, guard, kind)
        else:
            self._answer(number, question, guard, kind)

    def _answer(self, number: int, question: Question, guard: Guard, kind: int) -> None:
        try:
            if kind == SEARCH:
                self._send(_without_found(number, "begun"), guard)
            found = self._read(question, guard, KINDS[kind].steps)
            answered = Answered(number, "found", "", questions.encode_found(found))
        except StepsOverError:
            self._submit(number, question, guard, kind + 1)
            return
        except NotBuiltError as error:
            answered = _without_found(number, "not built", str(error))
        except TooManyModelsError as error:
            answered = _without_found(number, "too many models", str(error))
        except (StoreError, *DAMAGE) as error:
            answered = _without_found(number, "store", f"history can't be read: {error}")
        except Exception:  # noqa: BLE001 - a defect must not end unseen: who has asked waits
            answered = _without_found(number, "defect", traceback.format_exc())
        del self._guards[number]
        self._send(answered, guard)

    def _send(self, answered: Answered, guard: Guard) -> None:
        if not guard.stopped:
            with self._sending, contextlib.suppress(OSError):  # then nobody waits for it
                self._socket.sendall(questions.encode(answered))

    def _read(self, question: Question, guard: Guard, steps: int) -> Found:
        if guard.stopped:
            return None
        with self._snapshot() as connection, guard.watching(connection), guard.limited(steps):
            return answer(connection, guard, question)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._uri, uri=True, isolation_level=None)
            self._local.connection = connection
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")


def _without_found(
    number: int, outcome: Literal["begun", "store", "not built", "too many models", "defect"], reason: str = ""
) -> Answered:
    return Answered(number, outcome, reason, questions.encode_found(None))


def main() -> None:
    # Signals are meant for the sidecar, which still asks while it stops.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # An answer is made of some ten thousand objects, none of which refers to itself.
    gc.set_threshold(GARBAGE_AFTER_OBJECTS)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as asking:
        Reading(Path(sys.argv[1]), asking).run()
    os._exit(0)  # whatever is still being read


if __name__ == "__main__":
    main()
