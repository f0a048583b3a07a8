"""The SQLite ledger as `reconcile.Books`: counted in parts, so that neither rows nor models fill the memory."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.reconcile import ModelBooks, Reconciliation, reconcile
from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_US, ModelTotals, merged
from metrics_sidecar.ledger.transaction import Gap, Producer
from metrics_sidecar.ledger.usage import add_usage
from metrics_sidecar.metrics.live import LiveCopy
from metrics_sidecar.sqlite.rolled_up import count_rolled_up
from metrics_sidecar.sqlite.state import (
    ACCOUNT_COLUMNS,
    DAMAGE,
    TOTAL_COLUMNS,
    count_missing,
    read_counters,
    read_totals_by_label,
    read_usage,
    totals_of,
)
from metrics_sidecar.sqlite.unread import count_unread
from metrics_sidecar.sqlite.used import count_used_rows
from shared.record import MAX_COUNT

ROWS_AT_ONCE = 50_000
MODELS_AT_ONCE = 10_000
LAST = 2**63 - 1

# Grouped by what tells apart all that totals count. The sum is in two halves: SQLite's own would overflow.
# The `+` keeps it from using an index: a few rows at a time are read as they stand in the file.
_COUNT_ROWS = """
SELECT model, error_type, CASE {buckets} END, COUNT(*),
    SUM(latency_us >> 32), SUM(latency_us & 0xFFFFFFFF), MIN(latency_us), MAX(latency_us), MAX(timestamp_us)
FROM invocations WHERE id BETWEEN ? AND ? AND +model > ? AND +model <= ? GROUP BY 1, 2, 3
"""


class SqliteBooks:
    """Implements `reconcile.Books` on a connection that is in a transaction. One thread at a time."""

    def __init__(self, connection: sqlite3.Connection, on_rows: Callable[[int], None] = lambda count: None) -> None:
        """`on_rows` is told how many more rows have been counted, each once."""
        self._connection = connection
        self._on_rows = on_rows

    def commits(self) -> int:
        return int(self._connection.execute("SELECT commits FROM books").fetchone()[0])

    def models(self) -> Iterator[ModelBooks]:
        after = -1
        while after < LAST:
            counted, last = self._counted(after)
            rows = self._count_rows(after, last)
            rolled_up = count_rolled_up(self._connection, after, last)
            for model, (model_id, totals, removed_count) in counted.items():
                summed = {level: found.get(model, ModelTotals()) for level, found in (rolled_up or {}).items()}
                yield ModelBooks(model_id, totals, rows.pop(model, ModelTotals()), removed_count, summed)
            for model, found in rows.items():  # of which there is no model
                yield ModelBooks(f"#{model}", ModelTotals(), found, 0)
            after = last

    def producers(self) -> Iterator[tuple[str, Producer]]:
        for producer_id, *numbers in self._connection.execute(
            f"SELECT producer_id, {', '.join(ACCOUNT_COLUMNS)} FROM producers"
        ):
            yield producer_id, Producer(*numbers)

    def retired(self) -> Producer:
        query = "SELECT retired_accepted, retired_missing, retired_unread FROM books"
        accepted, missing, unread = self._connection.execute(query).fetchone()
        return Producer(accepted=accepted, missing=missing, unread=unread)

    def imported(self) -> int:
        return int(self._connection.execute("SELECT imported FROM books").fetchone()[0])

    def unread(self) -> tuple[int, int]:
        count = count_unread(self._connection)
        return count.kept, count.dropped

    def missing(self) -> tuple[int, int]:
        return count_missing(self._connection)

    def gaps(self) -> Iterator[Gap]:
        return (Gap(*row) for row in self._connection.execute("SELECT * FROM gaps ORDER BY rowid"))

    def shown(self) -> LiveCopy:
        return LiveCopy(read_totals_by_label(self._connection, as_counted=True), read_counters(self._connection))

    def _counted(self, after: int) -> tuple[dict[int, tuple[str, ModelTotals, int]], int]:
        """Number → id, totals and removed rows of the next models, and the last number that belongs to them."""
        execute = self._connection.execute
        found = execute(
            f"""SELECT models.model, model_id, removed_count, {", ".join(TOTAL_COLUMNS)}
            FROM models LEFT JOIN totals USING (model) WHERE models.model > ? ORDER BY models.model LIMIT ?""",
            (after, MODELS_AT_ONCE),
        ).fetchall()
        last = found[-1][0] if len(found) == MODELS_AT_ONCE else LAST
        errors: dict[int, dict[str, int]] = {}
        query = "SELECT model, error_type, count FROM error_totals WHERE model > ? AND model <= ?"
        for model, error_type, count in execute(query, (after, last)):
            # As it stands: one that is none of ours is a difference, and no failure to compare.
            errors.setdefault(model, {})[error_type] = count
        usage = read_usage(self._connection, after + 1, last)
        counted: dict[int, tuple[str, ModelTotals, int]] = {}
        for model, model_id, removed_count, *columns in found:
            if removed_count is None:
                counted[model] = (model_id, ModelTotals(), 0)
            else:
                counted[model] = (model_id, totals_of(columns, errors.get(model, {}), usage.get(model)), removed_count)
        return counted, last

    def _count_rows(self, after: int, last: int) -> dict[int, ModelTotals]:
        """Number → what its rows add up to, for the models of a range."""
        execute = self._connection.execute
        query = _COUNT_ROWS.format(buckets=_bucket_of(dict(execute("SELECT bound_us, after_id FROM later_bounds"))))
        totals: dict[int, ModelTotals] = {}
        next_id = 0
        while (start := execute("SELECT MIN(id) FROM invocations WHERE id >= ?", (next_id,)).fetchone()[0]) is not None:
            next_id = min(start + ROWS_AT_ONCE, LAST)
            count = 0
            for model, *group in execute(query, (start, next_id - 1, after, last)):
                more = _group_totals(*group)
                totals[model] = merged(totals.get(model), more)
                count += more.count
            for model, usage in count_used_rows(self._connection, (start, next_id - 1), (after, last)):
                totals[model].usage = add_usage(totals[model].usage, usage)
            self._on_rows(count)
        return totals


def _bucket_of(later_bounds: Mapping[int, int]) -> str:
    """SQL of the bucket that a row was counted in. `later_bounds`: up to which id rows were counted without a bound."""
    cases = [
        f"WHEN latency_us <= {bound_us} AND id > {later_bounds.get(bound_us, 0)} THEN {index}"
        for index, bound_us in enumerate(BUCKET_BOUNDS_US)
    ]
    return f"{' '.join(cases)} ELSE {len(cases)}"


def _group_totals(
    error_type: str | None,
    bucket: int,
    count: int,
    high: int,
    low: int,
    minimum: int,
    maximum: int,
    last_timestamp_us: int,
) -> ModelTotals:
    totals = ModelTotals(
        success_count=count if error_type is None else 0,
        failure_count=0 if error_type is None else count,
        latency_us=min((high << 32) + low, MAX_COUNT),
        min_latency_us=minimum,
        max_latency_us=maximum,
        last_timestamp_us=last_timestamp_us,
        errors={} if error_type is None else {error_type: count},
    )
    totals.buckets[bucket] = count
    return totals


class SqliteAudit:
    """Implements `audit.Audit` on a file that a `SqliteWriter` has open; it stays as it was when first looked at."""

    def __init__(self, path: Path) -> None:
        with _store_errors():
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        self._books = SqliteBooks(self._connection)

    def commits(self) -> int:
        with self._one_state():
            return self._books.commits()

    def reconcile(self, live: LiveCopy | None) -> Reconciliation:
        with self._one_state():
            return reconcile(self._books, live)

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _one_state(self) -> Iterator[None]:
        with _store_errors():
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            yield


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise StoreError(f"the history can't be read: {error}") from error


def damage(connection: sqlite3.Connection, max_messages: int) -> Iterator[str]:
    """What SQLite's own check finds in the file: pages, order, and rows against each index."""
    try:
        for (message,) in connection.execute(f"PRAGMA integrity_check({max_messages})"):
            if message != "ok":
                yield str(message)
    except sqlite3.DatabaseError as error:  # so bad that the check itself can't go on
        yield str(error)
