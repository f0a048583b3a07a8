"""A page of the history out of ten million rows, beside one out of ten thousand, while records come in; and how long
records wait for their acknowledgement while others read."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from statistics import median, quantiles
from urllib.parse import urlencode

from metrics_sidecar.api.cursor import Cursor, encode_cursor, fingerprint
from metrics_sidecar.queries import HistoryFilter, Position
from metrics_sidecar.settings import HISTORY_FILE
from shared.record import ErrorType, Record
from shared.wire import encode_batch, encode_record
from tests.bench.figures import Budget, Figure, Outcome, figure
from tests.bench.ground import BenchError, Ground
from tests.bench.history_store import SPAN_US, make_history, model_name
from tests.bench.http import Client
from tests.bench.producers import Frame, Producer, make_records
from tests.processes import System

ROWS, FEW_ROWS, MODELS = 10_000_000, 10_000, 1_000
PAGES = 300
"""Of each filter and depth."""
INGEST_S, READERS = 20.0, 10
TICK_S, TICK_RECORDS = 0.01, 20
"""2,000 records a second."""

SOME = tuple(model_name(number) for number in range(100, 105))
TIMEOUT = (ErrorType.TIMEOUT,)
FILTERS = {
    "all": HistoryFilter(),
    "model": HistoryFilter(models=(model_name(1),)),
    "5 models": HistoryFilter(models=SOME),
    "prefix of 100 models": HistoryFilter(prefixes=("team-1/",)),
    "success": HistoryFilter(status="success"),
    "failure": HistoryFilter(status="failure"),
    "error type": HistoryFilter(error_types=TIMEOUT),
    "model, success": HistoryFilter(models=(model_name(1),), status="success"),
    "model, failure": HistoryFilter(models=(model_name(1),), status="failure"),
    "model, error type": HistoryFilter(models=(model_name(1),), error_types=TIMEOUT),
}


def measure(on: Ground) -> Outcome:
    now_us = time.time_ns() // 1000
    few = _start(on, FEW_ROWS, now_us)
    many = _start(on, FEW_ROWS if on.effort.quick else ROWS, now_us)
    with ingesting(many), ingesting(few):
        figures = [
            _compare(on, f"page, {name}, {depth}", wanted, depth, many, few, now_us)
            for name, wanted in FILTERS.items()
            for depth in ("first", "anywhere", "window of 6 h")
        ]
    return Outcome([*figures, _worst(figures), *_ingest_beside_readers(on, many, now_us)])


def _start(on: Ground, rows: int, now_us: int) -> System:
    """A sidecar with so many rows."""
    directory = on.new_directory()
    make_history(directory / HISTORY_FILE, rows, MODELS, now_us)
    system, _ = on.sidecar(SIDECAR_DATA_DIR=str(directory))
    return system


def _compare(
    on: Ground, name: str, wanted: HistoryFilter, depth: str, many: System, few: System, now_us: int
) -> Figure:
    """Both in turns."""
    random = Random(1)
    taken: dict[str, list[float]] = {many.sidecar_url: [], few.sidecar_url: []}
    with Client(many.sidecar_url) as one, Client(few.sidecar_url) as other:
        for _ in range(max(on.effort.count(PAGES), 4)):
            path = _path(wanted, depth, now_us, random)
            for client, times in zip((one, other), taken.values(), strict=True):
                started = time.perf_counter()
                client.get(path)
                times.append((time.perf_counter() - started) * 1000)
    ours, yardstick = taken.values()
    return figure(
        name,
        "p99 ms",
        _p99(ours),
        yardstick=(f"{FEW_ROWS:,} rows", _p99(yardstick)),
        budget=Budget("ours", at_most=10.0),
        measurable=not on.effort.quick,
        extra={"median": median(ours), f"median of {FEW_ROWS:,} rows": median(yardstick)},
    )


def _worst(figures: list[Figure]) -> Figure:
    """Of the medians: those of the 99th percentile are the machine's."""
    *_, few = figures[0].extra
    name, ratio = max(((one.name, one.extra["median"] / one.extra[few]) for one in figures), key=lambda pair: pair[1])
    return figure(
        "median page ÷ that of few rows, the highest ratio",
        "×",
        ratio,
        budget=Budget("ours", at_most=2.0),
        note=name,
    )


def _path(wanted: HistoryFilter, depth: str, now_us: int, random: Random) -> str:
    at_us = now_us - random.randrange(SPAN_US // 2)
    parameters: list[tuple[str, str]] = [("model_id", model) for model in wanted.models]
    parameters += [("model_id", f"{prefix}*") for prefix in wanted.prefixes]
    parameters += [("error_type", error_type) for error_type in wanted.error_types]
    if wanted.status is not None:
        parameters.append(("status", wanted.status))
    if depth == "anywhere":
        cursor = Cursor("desc", fingerprint(wanted), Position(at_us, random.randrange(ROWS)))
        parameters.append(("cursor", encode_cursor(cursor)))
    elif depth != "first":
        parameters += [("since", f"{(at_us - SPAN_US // 4) / 1e6:.6f}"), ("until", f"{at_us / 1e6:.6f}")]
    return f"/metrics/history?{urlencode(parameters)}"


class _Stream:
    """Records at a steady rate; `waits_ms` is how long each batch waited for its acknowledgement."""

    def __init__(self, socket: Path) -> None:
        self.waits_ms: list[float] = []
        self._producer = Producer(socket)
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._encoded = [encode_record(record) for record in _records()]
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._producer.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        first = 1
        due = time.perf_counter()
        try:
            while not self._over.wait(max(due - time.perf_counter(), 0)):
                start = first % len(self._encoded) - 1
                encoded = self._encoded[start : start + TICK_RECORDS]
                last = first + len(encoded) - 1
                started = time.perf_counter()
                self._producer.ship([Frame(encode_batch(first, encoded), last, len(encoded))])
                self.waits_ms.append((time.perf_counter() - started) * 1000)
                first, due = last + 1, due + TICK_S
        except (OSError, BenchError) as error:
            self._failure = error


def _records() -> list[Record]:
    """Of the models that the history has."""
    return make_records(TICK_RECORDS * 100, MODELS, name_of=model_name)


@contextlib.contextmanager
def ingesting(system: System) -> Iterator[_Stream]:
    stream = _Stream(system.socket)
    try:
        yield stream
    finally:
        stream.close()


def _ingest_beside_readers(on: Ground, system: System, now_us: int) -> list[Figure]:
    """Acknowledgements without readers, and with ten that ask for one page after the other."""
    seconds = on.effort.seconds(INGEST_S)
    with ingesting(system) as alone:
        time.sleep(seconds)
    over = threading.Event()
    with ThreadPoolExecutor(READERS) as pool, ingesting(system) as beside:
        readers = [pool.submit(_read, system.sidecar_url, now_us, number, over) for number in range(READERS)]
        time.sleep(seconds)
        over.set()
        pages = sum(reader.result() for reader in readers)
    return [
        figure(
            "acknowledgement at 2,000 records/s, ten readers",
            "p99 ms",
            _p99(beside.waits_ms),
            yardstick=("no reader", _p99(alone.waits_ms)),
            extra={
                "median": median(beside.waits_ms),
                "median, no reader": median(alone.waits_ms),
                "pages/s": pages / seconds,
            },
            note="readers and writer share a core and an event loop",
        )
    ]


def _read(url: str, now_us: int, number: int, over: threading.Event) -> int:
    random = Random(number)
    pages = 0
    with Client(url) as client:
        while not over.is_set():
            client.get(_path(random.choice([*FILTERS.values()]), "anywhere", now_us, random))
            pages += 1
    return pages


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
