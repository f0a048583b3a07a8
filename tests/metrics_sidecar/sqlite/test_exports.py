"""Exports in processes beside: their bytes, and their end, whoever ends them."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from metrics_sidecar.history.exports import Export, ExportsBusyError
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite import reader as queries_module
from metrics_sidecar.sqlite.reader import SqliteReader
from shared.record import Record
from tests.metrics_sidecar.files.stores import export, fill
from tests.processes import children

NDJSON = Export("ndjson")
ROWS = [Record(f"model-{n % 10}", n, n) for n in range(30_000)]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("history")
    fill(directory, ROWS)
    return directory


async def test_the_bytes_are_those_of_the_export(history: Path) -> None:
    """All of them, once."""
    async with SqliteReader(history / HISTORY_FILE).rows(NDJSON) as chunks:
        found = b"".join([chunk async for chunk in chunks])
    assert found == await asyncio.to_thread(export, history, "ndjson")


async def test_it_is_read_no_faster_than_it_is_taken_and_ends_with_its_caller(history: Path) -> None:
    """However much is left: the process is gone then."""
    before = children(os.getpid())
    async with SqliteReader(history / HISTORY_FILE).rows(NDJSON) as chunks:
        first = await anext(chunks)
        (pid,) = children(os.getpid()) - before
        await asyncio.sleep(0.5)
        os.kill(pid, signal.SIGSTOP)
        read = len(first)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                async for chunk in chunks:
                    read += len(chunk)
    assert children(os.getpid()) == before
    assert read < 3_000_000 < len(await asyncio.to_thread(export, history, "ndjson"))


async def test_a_caller_that_is_cancelled_ends_it(history: Path) -> None:
    """As one does that closes its connection."""
    before = children(os.getpid())
    started = asyncio.Event()

    async def read() -> None:
        async with SqliteReader(history / HISTORY_FILE).rows(NDJSON) as chunks:
            await anext(chunks)
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert children(os.getpid()) == before


async def test_only_a_few_run_at_one_time(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place is free again when its export is over."""
    monkeypatch.setattr(queries_module, "EXPORTS", 1)
    reader = SqliteReader(history / HISTORY_FILE)
    async with reader.rows(NDJSON):
        with pytest.raises(ExportsBusyError, match="1 exports are running"):
            async with reader.rows(NDJSON):
                pass
    async with reader.rows(NDJSON) as chunks:
        assert await anext(chunks)


async def test_a_history_that_cant_be_read(tmp_path: Path) -> None:
    """Is told in SQLite's words."""
    (tmp_path / HISTORY_FILE).write_bytes(b"no database" * 1000)
    async with SqliteReader(tmp_path / HISTORY_FILE).rows(NDJSON) as chunks:
        with pytest.raises(StoreError, match="file is not a database"):
            await anext(chunks)
