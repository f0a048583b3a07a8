"""The CPU time of recording alone: begin, append, read as the outbox does, encode, trim. Prints µs per record."""

import sys
import time
from pathlib import Path

from invoker.delivery.outbox import BATCH_BYTES, BATCH_RECORDS
from invoker.journal.begun import Begun
from invoker.journal.directory import Bound
from invoker.journal.journal import Journal
from shared.clock import SystemClock
from shared.record import Record
from shared.wire import encode_batch

BATCHES = 200


def main(directory: Path) -> None:
    clock = SystemClock()
    journal = Journal.create(Bound(directory, 2**30, 1), clock)
    now_us = clock.now_us()
    for _ in range(BATCHES // 10):
        one_batch(journal, now_us)
    started = time.process_time()
    for _ in range(BATCHES):
        one_batch(journal, now_us)
    print((time.process_time() - started) * 1e6 / (BATCHES * BATCH_RECORDS))
    journal.close()


def one_batch(journal: Journal, now_us: int) -> None:
    for _ in range(BATCH_RECORDS):
        call = journal.begin(Begun("bench", now_us, 5))
        journal.append(Record("bench", now_us, 1234, None, "", 5, 5), call)
    first, records = journal.read(journal.first_sequence, BATCH_RECORDS, BATCH_BYTES)
    encode_batch(first, records)
    journal.trim(first + len(records) - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
