"""An exporter that does as it is told."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

from metrics_sidecar.history.exports import Export


class FakeExporter:
    """Gives these chunks, or fails: before them, or after them."""

    def __init__(self) -> None:
        self.chunks = [b"one\n", b"two\n"]
        self.asked: list[Export] = []
        self.refusal: Exception | None = None
        self.failure: Exception | None = None
        self.ended = asyncio.Event()

    @contextlib.asynccontextmanager
    async def export(self, wanted: Export) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(wanted)
        if self.refusal is not None:
            raise self.refusal
        try:
            yield self._chunks(wanted.gzip)
        finally:
            self.ended.set()

    async def _chunks(self, compressed: bool) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield gzip.compress(chunk) if compressed else chunk
        if self.failure is not None:
            raise self.failure
