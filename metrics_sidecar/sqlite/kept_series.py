"""Series that were asked for before: a dashboard asks again and again for a day of which only the last minutes are
new. What records are still added to, and what has changed since, is read anew, so they are always exact."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from operator import attrgetter
from typing import NamedTuple

import msgspec

from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.history.windows import Series, SeriesQuery, Window
from metrics_sidecar.sqlite.rollups import Progress

KEPT_STEPS = 16_384
"""Of all series together: eleven days by minute, 3 MiB. What was asked for counts, too, each id as one: it is as
little to be trusted as it is long."""

_minute = attrgetter("minute")


class KeptSeries:
    """The last answers, by what was asked for and about how long a time. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[SeriesQuery, _Settled] = OrderedDict()
        self._size = 0

    def find(self, query: SeriesQuery, progress: Progress) -> tuple[Series, int]:
        """Its first steps as far as they are known, and up to when (µs) that is. Only what is rolled up has been looked
        at: it is for the caller to see whether rows wait that belong there."""
        key, (since_us, until_us) = _key(query), query.window
        with self._lock:
            found = self._answers.get(key, _NOTHING)
            if found.late_count != progress.late_count or not found.window.since_us <= since_us < found.window.until_us:
                return {}, since_us
            self._answers.move_to_end(key)
        window = Window(since_us, min(until_us, found.window.until_us))
        return _within(found.series, window), window.until_us

    def keep(self, query: SeriesQuery, series: Series, progress: Progress) -> None:
        """What of this answer is settled, in place of the last one and of others that were not asked for lately."""
        step_us = query.step_minutes * MINUTE_US
        settled_us = progress.settled * MINUTE_US // step_us * step_us
        window = Window(query.window.since_us, min(query.window.until_us, settled_us))
        kept = _within(series, window)
        size = 1 + len(query.models) + len(query.prefixes) + sum(map(len, kept.values()))
        if size > KEPT_STEPS:
            return
        key, settled = _key(query), _Settled(progress.late_count, window, kept, size)
        with self._lock:
            self._size += size - self._answers.pop(key, _NOTHING).size
            self._answers[key] = settled
            while self._size > KEPT_STEPS:
                _, oldest = self._answers.popitem(last=False)
                self._size -= oldest.size


class _Settled(NamedTuple):
    """Steps of a window, as they are while `Progress.late_count` stays what it was."""

    late_count: int
    window: Window
    series: Series
    size: int


_NOTHING = _Settled(0, Window(0, 0), {}, 0)


def _within(series: Series, window: Window) -> Series:
    since, until = (moment_us // MINUTE_US for moment_us in window)
    return {
        name: steps[bisect_left(steps, since, key=_minute) : bisect_left(steps, until, key=_minute)]
        for name, steps in series.items()
    }


def _key(query: SeriesQuery) -> SeriesQuery:
    """The same for each time about as long: so an hour doesn't take the place of the day that is asked for beside it,
    and a day that begins a minute later does."""
    since_us, until_us = query.window
    return msgspec.structs.replace(query, window=Window(0, 1 << (until_us - since_us).bit_length()))
