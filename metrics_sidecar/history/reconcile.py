"""Whether the books agree: rows, totals, accounts of producers and the counters that are shown.

Everything is counted once more from the rows and compared with what was counted as they came:

    rows + rows removed by retention  =  totals, per model         (all sums, if none of its rows is removed)
    sums per stretch of time          =  totals, per model
    totals of all models              =  sequences accepted        (of living and of retired producers)
                                         + rows imported
    committed                         =  accepted + missing + unread  (per living producer)
    records set aside and dropped     =  unread                    (of living and of retired producers)
    gaps                              =  missing                   (of living and of retired producers)
    totals per label, gateway counters = those that `/metrics` shows
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from metrics_sidecar.intake.reported import Counters
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.ledger.transaction import Gap, Producer
from metrics_sidecar.ledger.usage import SPREADS, SUMS, USAGE_NAMES
from metrics_sidecar.metrics.live import LiveCopy
from shared.record import MAX_COUNT

MAX_SHOWN = 100
SUMMED_OVER_TIME = (
    "success_count",
    "failure_count",
    "latency_us",
    "min_latency_us",
    "max_latency_us",
    "last_timestamp_us",
    *SUMS,
)


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number that is not what it should be, and of what: a model or label, or a producer."""

    what: str
    expected: int | str
    found: int | str
    model_id: str = ""
    producer_id: str = ""


class MissingRange(msgspec.Struct, frozen=True):
    """Sequences of one producer, both ends included, whose records never came."""

    producer_id: str
    first_sequence: int
    last_sequence: int


class Missing(msgspec.Struct, frozen=True):
    """Records lost before they came here: how many, in how many gaps, and the first 100 of these."""

    count: int
    gap_count: int
    gaps: list[MissingRange]


class Checked(msgspec.Struct, frozen=True):
    """What was compared. `counters`: whether the counters of `/metrics` were, too, as they stood after the
    same transaction (`commits` counts these). `unread`: sequences whose records this release can't read. `imported`:
    rows that no producer has sent."""

    rows: int
    rows_removed: int
    totals: int
    sequences: int
    models: int
    producers: int
    commits: int
    counters: bool
    unread: int = 0
    imported: int = 0


class Reconciliation(msgspec.Struct, frozen=True):
    """`consistent`: the books agree with each other. What is missing is no difference between them, but told
    beside it. `differences` are the first 100 of `difference_count`."""

    consistent: bool
    checked: Checked
    difference_count: int
    differences: list[Difference]
    missing: Missing


class ModelBooks(msgspec.Struct, frozen=True):
    """One model: totals as they were counted, the rows counted now, how many rows are removed, and what the sums
    per stretch of so many minutes add up to (without errors, and of all buckets together; nothing as long as they are
    not complete)."""

    model_id: str
    totals: ModelTotals
    rows: ModelTotals
    removed_count: int
    rolled_up: dict[int, ModelTotals] = {}


class Books(Protocol):
    """One unchanging state of a store. The iterators hold no more than a part of it in memory."""

    def commits(self) -> int:
        """The number of the last transaction."""
        ...

    def models(self) -> Iterator[ModelBooks]:
        """Each model that has totals or rows."""
        ...

    def producers(self) -> Iterator[tuple[str, Producer]]:
        """Those that have not retired."""
        ...

    def retired(self) -> Producer:
        """All that have retired, added up: `accepted`, `missing` and `unread`."""
        ...

    def imported(self) -> int:
        """How many rows came from other histories."""
        ...

    def unread(self) -> tuple[int, int]:
        """How many records are set aside, and how many more were dropped."""
        ...

    def missing(self) -> tuple[int, int]:
        """Number of gaps and of the records missing in them."""
        ...

    def gaps(self) -> Iterator[Gap]:
        """In the order in which they were found."""
        ...

    def shown(self) -> LiveCopy:
        """Totals by label and gateway counters."""
        ...


def reconcile(books: Books, live: LiveCopy | None) -> Reconciliation:
    """Compare everything; with what was shown after the same transaction, if it is given. Blocks: it takes
    about a second per million rows."""
    check = _Check()
    check.models(books.models())
    imported = books.imported()
    check.producers(books.producers(), books.retired(), imported)
    gap_count, missing_count = books.missing()
    check.compare("missing records: gaps", min(check.missing, MAX_COUNT), min(missing_count, MAX_COUNT))
    check.compare("unread records: set aside and dropped", check.unread, sum(books.unread()))
    if live is not None:
        check.shown(books.shown(), live)
    gaps = [MissingRange(g.producer_id, g.first_sequence, g.last_sequence) for g in _first(books.gaps())]
    return Reconciliation(
        consistent=check.difference_count == 0,
        checked=Checked(
            rows=check.rows,
            rows_removed=check.rows_removed,
            totals=check.totals,
            sequences=check.sequences,
            models=check.model_count,
            producers=check.producer_count,
            commits=books.commits(),
            counters=live is not None,
            unread=check.unread,
            imported=imported,
        ),
        difference_count=check.difference_count,
        differences=check.differences,
        missing=Missing(missing_count, gap_count, gaps),
    )


class _Check:
    """What was counted so far, and where it differs."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.difference_count = 0
        self.rows = self.rows_removed = self.totals = self.sequences = self.missing = self.unread = 0
        self.model_count = self.producer_count = 0

    def compare(
        self, what: str, expected: int | str, found: int | str, model_id: str = "", producer_id: str = ""
    ) -> None:
        if expected != found:
            self.difference_count += 1
            if len(self.differences) < MAX_SHOWN:
                self.differences.append(Difference(what, expected, found, model_id, producer_id))

    def models(self, models: Iterator[ModelBooks]) -> None:
        for model in models:
            self.model_count += 1
            self.rows += model.rows.count
            self.rows_removed += model.removed_count
            self.totals += model.totals.count
            if model.removed_count:
                rows = model.rows.count + model.removed_count
                self.compare("rows and removed rows of a model", model.totals.count, rows, model.model_id)
            else:
                self._compare_totals("rows", model.model_id, model.totals, model.rows)
            for minutes, rolled_up in model.rolled_up.items():
                self._compare_rolled_up(model.model_id, minutes, model.totals, rolled_up)

    def producers(self, producers: Iterator[tuple[str, Producer]], retired: Producer, imported: int) -> None:
        self.sequences, self.missing, self.unread = retired.accepted, retired.missing, retired.unread
        for producer_id, producer in producers:
            self.producer_count += 1
            self.sequences += producer.accepted
            self.missing += producer.missing
            self.unread += producer.unread
            accounted = producer.accepted + producer.missing + producer.unread
            what = "sequences of a producer: accepted, missing and unread"
            self.compare(what, producer.committed, accounted, producer_id=producer_id)
        came = self.sequences + imported
        self.compare("rows and removed rows: sequences accepted and imports", came, self.rows + self.rows_removed)
        self.compare("totals: sequences accepted and imports", came, self.totals)

    def shown(self, stored: LiveCopy, live: LiveCopy) -> None:
        for label in sorted(stored.totals.keys() | live.totals.keys()):
            expected, found = (_as_counters(copy.totals.get(label, ModelTotals())) for copy in (stored, live))
            self._compare_totals("counters", label, expected, found)
        expected_counts, found_counts = _flat(stored.counters), _flat(live.counters)
        for name in sorted(expected_counts.keys() | found_counts.keys()):
            self.compare(f"counters: {name}", expected_counts.get(name, 0), found_counts.get(name, 0))

    def _compare_rolled_up(self, model_id: str, minutes: int, totals: ModelTotals, rolled_up: ModelTotals) -> None:
        expected, found = _summed_over_time(totals), _summed_over_time(rolled_up)
        for name in expected if totals.count or rolled_up.count else ():
            self.compare(f"sums per {minutes} min: {name}", expected[name], found[name], model_id)

    def _compare_totals(self, where: str, model_id: str, expected: ModelTotals, found: ModelTotals) -> None:
        if expected == found or expected.count == found.count == 0:
            return
        for name, wanted in _facts(expected).items():
            self.compare(f"{where}: {name}", wanted, _facts(found).get(name, 0), model_id)
        for name in _facts(found).keys() - _facts(expected).keys():
            self.compare(f"{where}: {name}", 0, _facts(found)[name], model_id)


def _as_counters(totals: ModelTotals) -> ModelTotals:
    """What of them counters show."""
    return msgspec.structs.replace(totals, min_latency_us=0, max_latency_us=0, last_timestamp_us=0)


def _facts(totals: ModelTotals) -> dict[str, int]:
    """All numbers of a model's totals, by name."""
    apart = ("buckets", "errors", "usage")
    facts = {name: getattr(totals, name) for name in totals.__struct_fields__ if name not in apart}
    facts |= dict(zip(USAGE_NAMES, totals.usage, strict=False))  # most have none
    facts |= {f"bucket_{index}": count for index, count in enumerate(totals.buckets)}
    return facts | {f"error_type {error_type}": count for error_type, count in totals.errors.items()}


def _summed_over_time(totals: ModelTotals) -> dict[str, int]:
    """What sums per stretch of time have of them: sketches of times tell how many there are."""
    counts = {f"{spread.field} count": sum(spread.buckets(totals.usage)) for spread in SPREADS}
    return {name: totals.number(name) for name in SUMMED_OVER_TIME} | counts


def _flat(counters: Counters) -> dict[str, int]:
    return {f"{name} {label}": value for name, values in counters.items() for label, value in values.items()}


def _first(gaps: Iterable[Gap]) -> list[Gap]:
    return [*itertools.islice(gaps, MAX_SHOWN)]
