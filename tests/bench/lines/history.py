"""A page of the history out of ten million rows, beside one out of ten thousand, while records come in; and how long
records wait for their acknowledgement while others read."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from statistics import median
from urllib.parse import urlencode

from metrics_sidecar.api.cursor import Cursor, encode_cursor, fingerprint
from metrics_sidecar.history.queries import HistoryFilter, Position
from shared.record import ErrorType
from tests.bench.asked import FEW_ROWS, MEDIAN_AS_LARGE, MEDIAN_OF_FEW, ROWS, Question, compare, p99, start, stream
from tests.bench.figures import Figure, Outcome, figure
from tests.bench.ground import Ground
from tests.bench.history_store import SPAN_US, model_name
from tests.bench.http import Client
from tests.processes import System

PAGES = 150
"""Of each filter and depth, in each round."""
INGEST_S, READERS = 20.0, 10

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
    few, _, _ = start(on, FEW_ROWS, now_us)
    many, _, _ = start(on, FEW_ROWS if on.effort.quick else ROWS, now_us)
    questions = {
        f"page, {name}, {depth}": Question(_paths(on, wanted, depth, now_us), 25.0, _as_large)
        for name, wanted in FILTERS.items()
        for depth in ("first", "anywhere", "window of 6 h")
    }
    figures = compare(on, many, few, questions)
    return Outcome([*figures, _worst(figures), *_ingest_beside_readers(on, many, now_us)])


def _worst(figures: list[Figure]) -> Figure:
    """Of the medians: those of the 99th percentile are the machine's. Of pages with as many rows: a filter that has ten
    of few has a hundred of many."""
    ratios = {
        one.name: one.extra[MEDIAN_AS_LARGE] / one.extra[MEDIAN_OF_FEW]
        for one in figures
        if MEDIAN_AS_LARGE in one.extra
    }
    name = max(ratios, key=ratios.__getitem__)
    return figure(
        "median page ÷ one of few rows as large, the highest ratio",
        "×",
        ratios[name],
        note=name,
    )


def _paths(on: Ground, wanted: HistoryFilter, depth: str, now_us: int) -> list[str]:
    random = Random(1)
    return [_path(wanted, depth, now_us, random) for _ in range(max(on.effort.count(PAGES), 4))]


def _path(wanted: HistoryFilter, depth: str, now_us: int, random: Random) -> str:
    at_us = now_us - random.randrange(SPAN_US // 2)
    parameters: list[tuple[str, str]] = [("model_id", model) for model in wanted.models]
    parameters += [("model_id", f"{prefix}*") for prefix in wanted.prefixes]
    parameters += [("error_type", error_type) for error_type in wanted.error_types]
    if wanted.status is not None:
        parameters.append(("status", wanted.status))
    if depth == "anywhere":
        cursor = Cursor("desc", fingerprint(wanted), Position(at_us, str(random.randrange(ROWS))))
        parameters.append(("cursor", encode_cursor(cursor)))
    elif depth != "first":
        parameters += [("since", f"{(at_us - SPAN_US // 4) / 1e6:.6f}"), ("until", f"{at_us / 1e6:.6f}")]
    return f"/metrics/history?{urlencode(parameters)}"


def _as_large(path: str, answer: bytes) -> str:
    rows = len(json.loads(answer)["history"])
    return f"{path}{'&' if '?' in path else '?'}limit={max(rows, 1)}"


def _ingest_beside_readers(on: Ground, system: System, now_us: int) -> list[Figure]:
    """Acknowledgements without readers, and with ten that ask for one page after the other."""
    seconds = on.effort.seconds(INGEST_S)
    with stream(system) as alone, alone.flowing():
        time.sleep(seconds)
    over = threading.Event()
    with ThreadPoolExecutor(READERS) as pool, stream(system) as beside, beside.flowing():
        readers = [pool.submit(_read, system.sidecar_url, now_us, number, over) for number in range(READERS)]
        time.sleep(seconds)
        over.set()
        pages = sum(reader.result() for reader in readers)
    return [
        figure(
            "acknowledgement at 2,000 records/s, ten readers",
            "p99 ms",
            p99(beside.waits_ms),
            yardstick=("no reader", p99(alone.waits_ms)),
            extra={
                "median": median(beside.waits_ms),
                "median, no reader": median(alone.waits_ms),
                "pages/s": pages / seconds,
            },
            note="requests and commits share an event loop",
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
