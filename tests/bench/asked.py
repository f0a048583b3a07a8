"""Two sidecars that are asked the same, one that has many rows and one that has few, while records come in."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from msgspec.structs import replace

from metrics_sidecar.settings import HISTORY_FILE
from shared.record import Record
from shared.wire import encode_batch, encode_record
from tests.bench.figures import Budget, Figure, figure
from tests.bench.ground import BenchError, Ground, Server, interleaved, middle
from tests.bench.history_store import make_history, model_name
from tests.bench.http import Client
from tests.bench.machine import CORES
from tests.bench.producers import Frame, Producer, make_records
from tests.processes import System

ROWS, FEW_ROWS, MODELS = 10_000_000, 10_000, 1_000
TICK_S, TICK_RECORDS = 0.01, 20
"""2,000 records a second."""
TURN = 25
"""Requests to one, before it is the other's turn."""
FLOOR = "an answer without a query"
"""How long it takes is the machine's doing, and that of the records that come in: no other can be faster."""
MEDIAN, MEDIAN_OF_FEW, MEDIAN_AS_LARGE = "median", f"median of {FEW_ROWS:,} rows", "median of answers as large"

AsLarge = Callable[[str, bytes], str]


class Question(NamedTuple):
    """Requests, and how long 99 of a hundred may take, if that is bounded. `as_large` makes, of a path and of the
    answer that few rows gave, the path whose answer out of many is as large: its median is compared, too."""

    paths: Sequence[str]
    budget_ms: float | None
    as_large: AsLarge | None = None


class Stream:
    """Records of now at a steady rate; `waits_ms` is how long each batch waited for its acknowledgement."""

    def __init__(self, socket: Path, records: Sequence[Record]) -> None:
        self.waits_ms: list[float] = []
        self._records = records
        self._producer = Producer(socket)
        self._over = threading.Event()
        self._flowing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Only here."""
        self._flowing.set()
        try:
            yield
        finally:
            self._flowing.clear()

    def close(self) -> None:
        self._over.set()
        self._flowing.set()
        self._thread.join()
        self._producer.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        first = 1
        due = time.perf_counter()
        try:
            while not self._over.wait(max(due - time.perf_counter(), 0)):
                if not self._flowing.is_set():
                    self._flowing.wait()
                    due = time.perf_counter()
                start = first % len(self._records) - 1
                encoded = _ended_now(self._records[start : start + TICK_RECORDS])
                last = first + len(encoded) - 1
                started = time.perf_counter()
                self._producer.ship([Frame(encode_batch(first, encoded), last, len(encoded))])
                self.waits_ms.append((time.perf_counter() - started) * 1000)
                first, due = last + 1, due + TICK_S
        except (OSError, BenchError) as error:
            self._failure = error


def _ended_now(records: Sequence[Record]) -> list[bytes]:
    now_us = time.time_ns() // 1000
    return [encode_record(replace(record, timestamp_us=now_us - record.latency_us)) for record in records]


def start(on: Ground, rows: int, now_us: int) -> tuple[System, Server, float]:
    """A sidecar with so many rows up to now, and how long it took until it was ready. It has all cores, as where
    people ask it: what it reads in one process beside what it commits in another is what they wait for."""
    directory = on.new_directory()
    make_history(directory / HISTORY_FILE, rows, MODELS, now_us)
    on.keep_in_memory(directory / HISTORY_FILE)
    started = time.perf_counter()
    system, server = on.sidecar(cores=CORES, SIDECAR_DATA_DIR=str(directory))
    return system, server, time.perf_counter() - started


@contextlib.contextmanager
def stream(system: System) -> Iterator[Stream]:
    """Records of the models that the history has."""
    made = Stream(system.socket, make_records(TICK_RECORDS * 100, MODELS, name_of=model_name))
    try:
        yield made
    finally:
        made.close()


def compare(on: Ground, many: System, few: System, questions: Mapping[str, Question]) -> list[Figure]:
    """Both are asked in turns, so that they meet the same weather; records come in where it is asked, and only there:
    both sidecars have the same cores. What takes no query is asked, too."""
    floor = Question(["/healthz"] * max(len(one.paths) for one in questions.values()), None)
    questions = {FLOOR: floor, **questions}
    with (
        stream(many) as to_many,
        stream(few) as to_few,
        Client(many.sidecar_url) as of_many,
        Client(few.sidecar_url) as of_few,
    ):

        def ask(question: Question) -> _Times:
            times = _Times([], [], [])
            for first in range(0, len(question.paths), TURN):
                paths = question.paths[first : first + TURN]
                times.many.extend(one.ms for one in _ask(to_many, of_many, paths))
                answers = _ask(to_few, of_few, paths)
                times.few.extend(one.ms for one in answers)
                if question.as_large is not None:
                    paths = [question.as_large(path, one.body) for path, one in zip(paths, answers, strict=True)]
                    times.as_large.extend(one.ms for one in _ask(to_many, of_many, paths))
            return times

        asked = interleaved(on.effort.rounds, {name: partial(ask, question) for name, question in questions.items()})
    return [_figure(on, name, questions[name], rounds) for name, rounds in asked.items()]


class _Times(NamedTuple):
    """In ms, of one round."""

    many: list[float]
    few: list[float]
    as_large: list[float]


def _figure(on: Ground, name: str, question: Question, rounds: list[_Times]) -> Figure:
    medians = {
        MEDIAN: middle(rounds, lambda times: median(times.many)),
        MEDIAN_OF_FEW: middle(rounds, lambda times: median(times.few)),
    }
    if question.as_large is not None:
        medians[MEDIAN_AS_LARGE] = middle(rounds, lambda times: median(times.as_large))
    return figure(
        name,
        "p99 ms",
        middle(rounds, lambda times: p99(times.many)),
        yardstick=(f"{FEW_ROWS:,} rows", middle(rounds, lambda times: p99(times.few))),
        budget=None if question.budget_ms is None else Budget("ours", at_most=question.budget_ms),
        measurable=not on.effort.quick,
        extra=medians,
    )


class _Answer(NamedTuple):
    ms: float
    body: bytes


def _ask(records: Stream, client: Client, paths: Sequence[str]) -> list[_Answer]:
    """One after the other, while records come in."""
    with records.flowing():
        return [_time(client, path) for path in paths]


def _time(client: Client, path: str) -> _Answer:
    started = time.perf_counter()
    body = client.get(path)
    return _Answer((time.perf_counter() - started) * 1000, body)


def p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
