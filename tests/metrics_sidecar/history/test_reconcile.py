"""The books agree whatever was sent; and where someone changes them, it is told what and where."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from metrics_sidecar.commands.verify import examine, verify
from metrics_sidecar.history.audit import Auditor
from metrics_sidecar.history.reconcile import MAX_SHOWN, Reconciliation
from metrics_sidecar.history.windows import DAY_US
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.settings import VerifySettings
from metrics_sidecar.sqlite import books as books_module
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.record import OVERFLOW_MODEL_ID, ErrorType, Record
from shared.settings import StartupError

A, B = "a" * 32, "b" * 32
MAX_MODELS = 3
NOW_US = SystemClock().now_us()
BEGAN_US = NOW_US - 2 * DAY_US
"""So long ago that the sums of that day are built, as soon as there is a record of today."""
REJECTED = "invoker_requests_rejected_total"


class Sidecar:
    """Ledger, live counters and auditor as `app.py` puts them together."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(SqliteWriter(path), SystemClock(), MAX_MODELS, self._on_committed, lambda _reason: None)
        self.live = Live(self.ledger.state, MAX_MODELS)
        self.auditor = Auditor(lambda: SqliteAudit(path), self.live)
        self.ledger.start()

    async def submit(self, producer_id: str, first_sequence: int = 0, *records: Record, **more: Any) -> None:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ledger.submit(Work(producer_id, first_sequence, [*records], done=done.set_result, **more))
        await done

    async def close(self) -> None:
        self.auditor.close()
        await self.ledger.close()

    def _on_committed(self, committed: Committed) -> None:
        self.live.apply(committed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
async def sidecar(path: Path) -> AsyncIterator[Sidecar]:
    """One that has taken in of everything something."""
    sidecar = Sidecar(path)
    first = [Record(f"m{number % 5}", BEGAN_US + number, number * 1000) for number in range(39)]
    await sidecar.submit(A, 1, *first, Record("m4", NOW_US, 39_000))
    timeouts = [Record("m0", BEGAN_US + 99, 7, ErrorType.TIMEOUT, "why")] * 20
    await sidecar.submit(A, 30, *timeouts)  # half known
    await sidecar.submit(
        A, 60, Record("m1", BEGAN_US + 5, 2**63 - 1, ErrorType.CONNECT, "why"), Record("m1", BEGAN_US + 5, 2**63 - 1)
    )
    await sidecar.submit(B, 3, Record("m2", BEGAN_US + 1, 0))
    await sidecar.submit(B, reported={REJECTED: {"too_large": 3}})
    await sidecar.submit(B, retire=True)
    yield sidecar
    await sidecar.close()


def found(result: Reconciliation) -> set[tuple[str, str]]:
    return {(difference.what, difference.model_id or difference.producer_id) for difference in result.differences}


def change(path: Path, sql: str) -> None:
    """What a defect, or someone with a SQLite shell, might do."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


async def roll_up(sidecar: Sidecar, path: Path) -> None:
    """Have all rows rolled up, which usually waits for more of them, and all levels built."""
    with patch.multiple(rollup_writer, MIN_WAITING_ROWS=1, ROWS_PER_GROUP=0, ROWS_PER_GROUP_BUSY=0):
        await sidecar.submit(A)  # after a commit there is time for it
        for _ in range(500):
            with contextlib.closing(sqlite3.connect(path)) as connection:
                query = """SELECT last_id = (SELECT MAX(id) FROM invocations)
                AND NOT EXISTS (SELECT * FROM rollup_levels WHERE level > 1 AND bucket = 0)
                FROM rollup_progress"""
                (is_done,) = connection.execute(query).fetchone()
            if is_done:
                return
            await asyncio.sleep(0.01)
    raise AssertionError("rows wait")


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def zero_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(8192))


async def test_all_books_agree_and_what_is_missing_is_told(sidecar: Sidecar) -> None:
    """Rows, totals, sequences of living and retired producers, and counters, overflowed models included."""
    result = await sidecar.auditor.reconcile()
    assert (result.differences, result.consistent) == ([], True)
    checked = result.checked
    assert (checked.rows, checked.totals, checked.sequences) == (52, 52, 52)
    assert (checked.models, checked.producers, checked.commits, checked.counters) == (5, 1, 6, True)
    assert (result.missing.count, result.missing.gap_count) == (12, 2)
    assert [(gap.producer_id, gap.first_sequence, gap.last_sequence) for gap in result.missing.gaps] == [
        (A, 50, 59),
        (B, 1, 2),
    ]


@pytest.mark.parametrize(
    ("sql", "differences"),
    [
        (
            "DELETE FROM invocations WHERE id = 52",
            {("rows: success_count", "m2"), ("rows and removed rows: sequences accepted and imports", "")},
        ),
        ("UPDATE invocations SET latency_us = 3 WHERE id = 52", {("rows: latency_us", "m2")}),
        ("UPDATE invocations SET timestamp_us = 98 WHERE model = 1", {("rows: last_timestamp_us", "m0")}),
        (
            "UPDATE invocations SET error_type = 'connect' WHERE error_type = 'timeout'",
            {("rows: error_type connect", "m0"), ("rows: error_type timeout", "m0")},
        ),
        (
            "UPDATE invocations SET model = 77 WHERE id = 52",
            {("rows: success_count", "m2"), ("rows: success_count", "#77")},
        ),
        ("UPDATE error_totals SET error_type = 'none of ours' WHERE model = 1", {("rows: error_type timeout", "m0")}),
        ("UPDATE totals SET bucket_3 = bucket_3 + 1 WHERE model = 1", {("rows: bucket_3", "m0")}),
        (
            "UPDATE totals SET success_count = success_count + 1 WHERE model = 1",
            {("totals: sequences accepted and imports", "")},
        ),
        ("UPDATE producers SET committed = 62", {("sequences of a producer: accepted, missing and unread", A)}),
        ("UPDATE producers SET accepted = accepted - 1", {("totals: sequences accepted and imports", "")}),
        ("UPDATE books SET retired_accepted = 0", {("totals: sequences accepted and imports", "")}),
        ("DELETE FROM gaps", {("missing records: gaps", "")}),
        ("UPDATE books SET unread_dropped = 1", {("unread records: set aside and dropped", "")}),
        (
            "UPDATE totals SET latency_us = 1 WHERE model = 2",
            {("rows: latency_us", "m1"), ("counters: latency_us", "m1")},
        ),
        ("UPDATE gateway_counters SET value = 4", {(f"counters: {REJECTED} too_large", "")}),
        ("UPDATE rollup_progress SET last_id = 1", {("sums per 1 min: success_count", "m0")}),
    ],
)
async def test_each_book_that_was_changed_is_named(
    sidecar: Sidecar, path: Path, sql: str, differences: set[tuple[str, str]]
) -> None:
    """With what was expected and found, and of which model or producer."""
    await sidecar.ledger.close()  # after commits it works on sums, and would note its progress over what is changed
    change(path, sql)
    result = await sidecar.auditor.reconcile()
    assert not result.consistent
    assert differences <= found(result)
    assert all(difference.expected != difference.found for difference in result.differences)


async def test_rows_that_retention_removes_are_no_difference(sidecar: Sidecar, path: Path) -> None:
    """As long as each one is counted as removed, and was rolled up before."""
    await roll_up(sidecar, path)
    change(path, "DELETE FROM invocations WHERE model = 1 AND error_type IS NULL")
    change(path, "UPDATE totals SET removed_count = success_count WHERE model = 1")
    result = await sidecar.auditor.reconcile()
    assert (result.differences, result.checked.rows, result.checked.rows_removed) == ([], 44, 8)
    change(path, "UPDATE totals SET removed_count = removed_count - 1 WHERE model = 1")
    assert ("rows and removed rows of a model", "m0") in found(await sidecar.auditor.reconcile())


@pytest.mark.parametrize(
    ("sql", "differences"),
    [
        ("UPDATE rollups_1 SET failure_count = 7 WHERE model = 1", {("sums per 1 min: failure_count", "m0")}),
        ("UPDATE rollups_1 SET latency_us = latency_us - 1 WHERE model = 2", {("sums per 1 min: latency_us", "m1")}),
        ("UPDATE rollups_1440 SET max_latency_us = 5 WHERE model = 1", {("sums per 1440 min: max_latency_us", "m0")}),
        ("DELETE FROM rollups_1 WHERE model = 3", {("sums per 1 min: success_count", "m2")}),
    ],
)
async def test_each_sum_over_time_that_was_changed_is_named(
    sidecar: Sidecar, path: Path, sql: str, differences: set[tuple[str, str]]
) -> None:
    """What windows would count is compared with what was counted as it came."""
    await roll_up(sidecar, path)
    assert (await sidecar.auditor.reconcile()).differences == []
    change(path, sql)
    assert differences <= found(await sidecar.auditor.reconcile())


CHATS = [
    Record("chat", BEGAN_US + n, 9, operation="chat", input_tokens=2**62, output_tokens=n, cost_nano_usd=10**9)
    for n in range(4)
] + [
    Record("chat", BEGAN_US, 9, operation="chat", streamed=True, time_to_first_token_us=500_000 * n, reasoning_tokens=1)
    for n in range(4)
] + [Record("chat", BEGAN_US, 9, operation="chat", input_tokens=0, queue_us=n * 1_000) for n in range(3)]  # fmt: skip
USED_DAMAGE = [
    ("UPDATE invocations SET output_tokens = 7 WHERE output_tokens = 3", {"rows: output_tokens"}),
    ("UPDATE invocations SET time_to_first_token_us = 1", {"rows: time_to_first_token_us", "rows: first_token_1ms"}),
    ("UPDATE invocations SET operation = NULL", {"rows: usage_missing"}),
    (
        "UPDATE usage_totals SET cost_nano_usd = 1",
        {"rows: cost_nano_usd", "sums per 1 min: cost_nano_usd", "counters: cost_nano_usd"},
    ),
    (
        "UPDATE usage_totals SET first_token_more = 1",
        {"rows: first_token_more", "sums per 60 min: time_to_first_token_us count", "counters: first_token_more"},
    ),
    ("UPDATE usage_totals SET per_token_25ms = 3", {"rows: per_token_25ms", "counters: per_token_25ms"}),
    ("UPDATE usage_totals SET queue_1ms = 3", {"rows: queue_1ms", "counters: queue_1ms"}),
    ("UPDATE invocations SET queue_us = 4 WHERE queue_us = 2000", {"rows: queue_us", "rows: queue_5ms"}),
    ("UPDATE rollups_60 SET queue_sketch = NULL", {"sums per 60 min: queue_us count"}),
    ("DELETE FROM usage_totals", {"rows: input_tokens", "counters: reasoning_tokens"}),
    ("UPDATE rollups_1 SET input_tokens = input_tokens - 1", {"sums per 1 min: input_tokens"}),
    ("UPDATE rollups_60 SET usage_missing = 0", {"sums per 60 min: usage_missing"}),
    ("UPDATE rollups_1440 SET first_token_sketch = NULL", {"sums per 1440 min: time_to_first_token_us count"}),
]


@pytest.mark.parametrize(("sql", "differences"), USED_DAMAGE)
async def test_what_was_used_is_compared_everywhere(
    sidecar: Sidecar, path: Path, sql: str, differences: set[str]
) -> None:
    """Rows, totals, sums over time and counters, of sums beyond what integers hold, too."""
    await sidecar.submit(A, 62, *CHATS)
    assert (await sidecar.auditor.reconcile()).differences == []
    await roll_up(sidecar, path)
    assert (await sidecar.auditor.reconcile()).differences == []
    await sidecar.ledger.close()
    change(path, sql)
    label = OVERFLOW_MODEL_ID
    names = {(what, label if what.startswith("counters") else "chat") for what in differences}
    assert names <= found(await sidecar.auditor.reconcile())


async def test_counting_in_parts_counts_all(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result doesn't depend on how many rows and models are counted at once."""
    whole = await sidecar.auditor.reconcile()
    for rows, models in ((1, 1), (7, 2), (52, 5), (50, 4)):
        monkeypatch.setattr(books_module, "ROWS_AT_ONCE", rows)
        monkeypatch.setattr(books_module, "MODELS_AT_ONCE", models)
        assert await sidecar.auditor.reconcile() == whole


async def test_differences_are_bounded(sidecar: Sidecar, path: Path) -> None:
    """All are counted, the first 100 shown."""
    await sidecar.submit(A, 62, *(Record(f"x{number}", 1, 1) for number in range(150)))
    change(path, "UPDATE totals SET latency_us = latency_us + 1 WHERE model > 5")
    result = await sidecar.auditor.reconcile()
    assert len(result.differences) == MAX_SHOWN
    assert result.difference_count >= 150


async def test_no_false_alarm_under_load(sidecar: Sidecar) -> None:
    """While transactions follow each other, each check sees all books after one and the same of them."""
    stop = False

    async def load(producer_id: str) -> None:
        sequence = 1
        while not stop:
            await sidecar.submit(producer_id, sequence, *(Record(f"m{n % 7}", n, n) for n in range(30)))
            sequence += 30

    tasks = [asyncio.create_task(load(f"{number:032x}")) for number in range(4)]
    results = [await sidecar.auditor.reconcile() for _ in range(30)]
    stop = True
    await asyncio.gather(*tasks)
    assert [result.differences for result in results] == [[]] * 30
    assert sum(result.checked.counters for result in results) >= 25
    assert results[0].checked.commits < results[-1].checked.commits


async def test_a_check_asked_for_and_given_up_ends(sidecar: Sidecar) -> None:
    """A caller that goes in the middle leaves nothing behind that the next one would wait for."""
    task = asyncio.create_task(sidecar.auditor.reconcile())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sidecar.auditor.reconcile()).consistent


async def test_verify_beside_a_sidecar_and_after_it(
    sidecar: Sidecar, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same books, read from the directory alone; exit code 0, and 1 with a difference."""
    settings = VerifySettings(data_dir=path.parent)
    before = await asyncio.to_thread(examine, path)
    assert before.books is not None
    assert before.books.consistent
    assert await asyncio.to_thread(verify, settings) == 0
    await sidecar.close()
    assert examine(path) == before
    before_files = files(path.parent)
    assert verify(settings) == 0
    text = capsys.readouterr().out
    assert f"missing    12 records in 2 gaps, lost before they came here:\n    producer {A}: 50 to 59\n" in text
    assert files(path.parent) == before_files
    change(path, "UPDATE totals SET success_count = success_count + 1 WHERE model = 1")
    assert verify(settings) == 1
    assert "rows: success_count [m0]: expected 9, found 8" in capsys.readouterr().out


async def test_verify_finds_damage_that_the_start_does_not_look_for(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zeros in the middle of the file: exit code 1, with SQLite's own words."""
    sidecar = Sidecar(path)
    await sidecar.submit(A, 1, *(Record("m", number, 1, ErrorType.TIMEOUT, "x" * 500) for number in range(4000)))
    await sidecar.close()
    zero_the_middle(path)
    assert verify(VerifySettings(data_dir=path.parent)) == 1
    assert f"{path}: damaged\n  " in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"precious" * 1000, b"SQLite format 3\x00" + bytes(5000)])
def test_what_verify_cannot_read_it_says(path: Path, content: bytes | None) -> None:
    """Nothing there, an empty file, no database, a header and nothing in it."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=r"history\.db"):
        examine(path)
