"""What was set aside because it could not be read is tried again, once, by each process: a later release can."""

from metrics_sidecar.history.writer import Writer
from metrics_sidecar.ledger.transaction import Commit, UnreadRecord, Work
from shared import logs
from shared.record import Record
from shared.wire import decode_record

READ_AT_ONCE = 500
"""Few enough that what comes in meanwhile waits a millisecond."""

MAX_TOLD = 1000

log = logs.get("ledger")


class Rereading:
    """The ledger's thread's."""

    def __init__(self, store: Writer) -> None:
        self._store = store
        self.is_done = False
        self._after_id = 0

    def next(self) -> list[Work]:
        """What of a few more records can be read now. `StoreError`."""
        kept = self._store.read_unread(self._after_id, READ_AT_ONCE)
        if not kept:
            self.is_done = True
            return []
        self._after_id = kept[-1].id
        readable: list[tuple[UnreadRecord, Record]] = []
        for each in kept:
            record = decode_record(each.encoded)
            if isinstance(record, Record):
                readable.append((each, record))
        if not readable:
            return []
        log.info("ledger.unread_records_read", count=len(readable))
        return [Work("", reread=readable)]


class ToldOf:
    """Says of each producer once that its records can't be read, and once that more of them are dropped."""

    def __init__(self) -> None:
        self._producers: set[str] = set()
        self._dropped = False

    def tell(self, commit: Commit) -> None:
        if len(self._producers) > MAX_TOLD:
            self._producers.clear()
        for each in commit.unread:
            if each.producer_id not in self._producers:
                self._producers.add(each.producer_id)
                reason = each.reason
                log.warning("ledger.record_unread", producer=each.producer_id, sequence=each.sequence, reason=reason)
        if commit.unread_dropped_count and not self._dropped:
            log.error("ledger.unread_records_dropped", count=commit.unread_dropped_count)
        self._dropped |= commit.unread_dropped_count > 0
