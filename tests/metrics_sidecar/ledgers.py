"""A ledger on a real SQLite file, for the tests of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.exemplars import Buckets
from metrics_sidecar.sqlite.reader import SqliteReader
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.record import ErrorType, Record

PRODUCER = "0" * 32


def record(model_id: str = "m", latency_us: int = 1000, error_type: ErrorType | None = None, at: int = 1) -> Record:
    return Record(model_id, at, latency_us, error_type, "why" if error_type else "", 3, 4)


class Books:
    """A ledger, what it published, and the reads of it."""

    def __init__(self, path: Path, max_models: int) -> None:
        self.published: list[Committed] = []
        self.failures: list[str] = []
        self.store = SqliteWriter(path)
        self.ledger = Ledger(self.store, SystemClock(), max_models, self.published.append, self.failures.append)
        self.totals = dict(self.ledger.state.totals)
        self.created_us = dict(self.ledger.state.created_us)
        self.exemplars: dict[str, Buckets] = {}
        self.reader = SqliteReader(path)
        self.ledger.start()

    async def commit(self, first_sequence: int, *records: Record, producer: str = PRODUCER) -> int:
        """Submit one batch and wait; the producer's committed sequence."""
        return await self.submit(Work(producer, first_sequence, list(records)))

    async def submit(self, work: Work) -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ledger.submit(
            Work(work.producer_id, work.first_sequence, work.records, work.reported, work.retire, done.set_result)
        )
        committed = await done
        for published in self.published:
            self.totals.update(published.totals)
            self.created_us.update(published.created_us)
            self.exemplars.update(published.exemplars)
        self.published.clear()
        return committed

    async def close(self) -> None:
        self.reader.close()
        await self.ledger.close()


Open = Callable[..., Books]
