"""Runs exports for callers of the API, each in a process of its own: a few at a time, ended when they leave."""

import asyncio
import contextlib
import fcntl
import os
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from metrics_sidecar.files.worker import Order
from metrics_sidecar.history.exports import Export, ExportsBusyError
from metrics_sidecar.history.queries import StoreError
from shared import isolated

MAX_EXPORTS = 2
PIPE_BYTES = 1024 * 1024
"""What is read ahead of the caller, and at most at once; Linux gives any user so much."""
WORKER = "metrics_sidecar.files.worker"


class ProcessExporter:
    """Implements `exports.Exporter` on a history file that a `SqliteStore` has open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running = 0

    @contextlib.asynccontextmanager
    async def export(self, wanted: Export) -> AsyncIterator[AsyncIterator[bytes]]:
        """The export's bytes, read no faster than they are taken. `ExportsBusyError`; and the iterator raises
        `StoreError` where the history can't be read: what came before is then not whole."""
        if self._running >= MAX_EXPORTS:
            raise ExportsBusyError(f"{MAX_EXPORTS} exports are running")
        self._running += 1
        worker = _Worker(Order(str(self._path), wanted))
        try:
            yield worker.chunks()
        finally:
            self._running -= 1
            await asyncio.shield(worker.end())


class _Worker:
    """The process, and the one thread that waits for it: to start, for its bytes, and for its end."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="export")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Until it has ended; `StoreError` if it ended early."""
        loop = asyncio.get_running_loop()
        process = await loop.run_in_executor(self._thread, self._start)
        while chunk := await loop.run_in_executor(self._thread, _read, process):
            yield chunk
        if reason := await loop.run_in_executor(self._thread, _reason, process):
            raise StoreError(reason)

    async def end(self) -> None:
        """Whatever it does."""
        if self._process is not None:
            self._process.kill()  # here, because the thread may wait for it
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clean_up)
        self._thread.shutdown(wait=False)

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(isolated.python(WORKER), stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise StoreError(f"an export can't be started: {error.strerror}") from None
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # then it is smaller
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it has ended, and says why
            stdin.write(msgspec.json.encode(self._order))
        return process

    def _clean_up(self) -> None:
        if self._process is not None:
            self._process.kill()  # in case it had not started when its end was called for
            with self._process:  # waits, and closes the pipes
                pass


def _read(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), PIPE_BYTES)


def _reason(process: subprocess.Popen[bytes]) -> str:
    """Why it ended early; empty if it did not."""
    assert process.stderr is not None
    told = process.stderr.read().decode(errors="replace").strip()
    if process.wait() == 0:
        return ""
    return told.rpartition("\n")[2] or f"the export ended with {process.returncode}"
