"""What of a producer's own counters is new: each report repeats what they have come to, and may come again."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from metrics_sidecar.intake.families import MAX_SERIES, MAX_VALUES, OTHER_VALUES, OVERFLOWED, is_family, joined, parted
from metrics_sidecar.intake.reported import MAX_REPORTED_VALUES, Counters
from shared import logs
from shared.record import MAX_COUNT

log = logs.get("ledger")


class Growth:
    """Knows which label values counters have, all producers together: no more than a bounded number is given."""

    def __init__(self, counters: Counters) -> None:
        self._known: dict[str, set[str]] = {}
        self._told: set[str] = set()
        self.applied(counters)

    def applied(self, counters: Counters) -> None:
        """The store has these, too."""
        for name, values in counters.items():
            self._known.setdefault(name, set()).update(values)

    def grown(self, account: bytes, reported: Counters, pending: Counters) -> bytes:
        """Add to `pending` what grew since the last report of a producer, of which `account` tells (msgpack). Returns
        what is known of it then; the same if nothing grew."""
        before = msgspec.msgpack.decode(account, type=Counters) if account else {}
        grew = False
        for name, values in reported.items():
            last = before.setdefault(name, {})
            room = _Room(name, self._known.get(name, set()) | pending.get(name, {}).keys())
            for label, value in (values if room.is_family else room.bounded(values)).items():
                grown = value - last.get(label, 0)
                if grown > 0 and (label in last or len(last) < MAX_SERIES):
                    grew = True
                    last[label] = value
                    self._add(pending, name, room.shown(label), grown)
        return msgspec.msgpack.encode(before) if grew else account

    def count(self, name: str, values: Iterable[str], pending: Counters) -> None:
        """One more of each in a family without a second label: what the ledger itself sees."""
        room = _Room(name, self._known.get(name, set()) | pending.get(name, {}).keys())
        for value, number in Counter(values).items():
            self._add(pending, name, room.shown(joined(value, "")), number)

    def _add(self, pending: Counters, name: str, label: str, count: int) -> None:
        if name not in self._told and label.startswith(OVERFLOWED):
            self._told.add(name)
            log.warning("ledger.labels_overflow", metric=name, allowed=MAX_VALUES)
        of_name = pending.setdefault(name, {})
        of_name[label] = min(of_name.get(label, 0) + count, MAX_COUNT)


class _Room:
    """The labels of one counter: those that are known, and new ones while there is room."""

    def __init__(self, name: str, known: set[str]) -> None:
        self.is_family = is_family(name)
        self._known = known
        self._parts: tuple[set[str], set[str]] | None = None

    def bounded(self, values: dict[str, int]) -> dict[str, int]:
        """With one label for all values after the first 32 of this counter, whoever reported them."""
        bounded: dict[str, int] = {}
        for value, count in values.items():
            label = _taken(value, self._known, MAX_REPORTED_VALUES)
            bounded[label] = min(bounded.get(label, 0) + count, MAX_COUNT)
        return bounded

    def shown(self, label: str) -> str:
        """What it is counted under: of a family, each of its two parts."""
        if not self.is_family or label in self._known:
            return label
        if self._parts is None:  # labels that are new are rare
            self._parts = ({parted(each)[0] for each in self._known}, {parted(each)[1] for each in self._known})
        (first, second), (firsts, seconds) = parted(label), self._parts
        return joined(_taken(first, firsts, MAX_VALUES), _taken(second, seconds, MAX_REPORTED_VALUES))


def _taken(value: str, known: set[str], at_most: int) -> str:
    if value not in known and len(known) >= at_most:
        return OTHER_VALUES
    known.add(value)
    return value
