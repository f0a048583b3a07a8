"""Sketches of latencies: counts per bin, from which quantiles follow with a relative error of at most 1 %.

A bin is a range of whole µs whose upper end is at most 101⁄99 of its lower one, and a quantile is shown as their
harmonic mean, which is within 1 % of both. (The idea is DDSketch's, https://arxiv.org/abs/1908.10693; with
integers it is exact, and below 50 µs a bin holds one value.) Counts add up: the sketch of several parts is
the sketch of the whole.

Encoded: one byte says how many bytes a count has, then come the first bin (two bytes) and the counts from there
on; or 0, and each value's bin (two bytes), where that is much shorter. All little-endian.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, pairwise, repeat
from operator import sub
from typing import NamedTuple

from shared.record import MAX_COUNT

RELATIVE_ERROR = 0.01

FEW = 16
"""So many values are each looked for among all bounds, and no range of these is sought first."""
_LISTED = 0
_LANES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes of a count → type of array."""
_HEADER_BYTES = 3
_BIN_BYTES = 2


class Histogram(NamedTuple):
    """Counts of consecutive bins, from number `first` on."""

    first: int
    counts: list[int]


NOTHING = Histogram(0, [])
"""Without any value."""


def _upper_bounds() -> tuple[int, ...]:
    bounds = [0]
    while bounds[-1] < MAX_COUNT:
        low = bounds[-1] + 1
        bounds.append(low * 101 // 99)
    return tuple(bounds)


UPPER_BOUNDS_US = _upper_bounds()
"""Of the bins, both ends included: bin n begins one above the bound of bin n - 1. Stored sketches depend on them."""


def _values_us() -> Iterator[float]:
    yield 0.0
    for below, high in pairwise(UPPER_BOUNDS_US):
        low = below + 1
        yield float(low) if low == high else 2 * low * high / (low + high)


_find_bin = partial(bisect_left, UPPER_BOUNDS_US)

_VALUES_US = tuple(_values_us())
"""What is shown of the values of each bin."""


def sketch(latencies_us: Sequence[int]) -> bytes:
    """The sketch of these values, each from 0 to 2⁶³ - 1."""
    if not latencies_us:
        return b""
    if len(latencies_us) <= FEW:
        found = sorted(map(_find_bin, latencies_us))
        span = range(found[0], found[-1] + 1)
        if _is_sparse(len(found), len(span)):
            return b"\0" + _pack("H", found)
        return encode(Histogram(found[0], [*map(found.count, span)]))
    first = _find_bin(min(latencies_us))
    # Searching few bounds for values, or few values for bounds, is much of what this costs.
    bounds = UPPER_BOUNDS_US[first : _find_bin(max(latencies_us)) + 1]
    if len(latencies_us) > len(bounds):
        below = [*map(partial(bisect_right, sorted(latencies_us)), bounds)]
        return encode(Histogram(first, [*map(sub, below, [0, *below])]))
    bins = [*map(partial(bisect_left, bounds), latencies_us)]
    if _is_sparse(len(bins), len(bounds)):
        return b"\0" + _pack("H", sorted([first + number for number in bins]))
    counts = [0] * len(bounds)
    for number in bins:
        counts[number] += 1
    return encode(Histogram(first, counts))


def encode(histogram: Histogram) -> bytes:
    """The same counts always give the same bytes. Neither the first nor the last may be 0."""
    first, counts = histogram
    if not counts:
        return b""
    width = _width(max(counts))
    if width == 1 and _is_sparse(sum(counts), len(counts)):
        return b"\0" + _pack("H", [*chain.from_iterable(map(repeat, range(first, first + len(counts)), counts))])
    return bytes((width, first & 0xFF, first >> 8)) + _pack(_LANES[width], counts)


def merge(sketches: Iterable[bytes]) -> Histogram:
    """All of them together. `ValueError` for what no sketch can be."""
    dense: list[bytes] = []
    listed: list[bytes] = []
    for one in sketches:
        if one:
            (dense if one[0] != _LISTED else listed).append(one)
    histogram = _add(dense) if dense else NOTHING
    return _with_listed(histogram, _unpack("H", b"".join(one[1:] for one in listed))) if listed else histogram


def quantiles_us(histogram: Histogram, percents: Iterable[int]) -> list[float]:
    """For each percentage the smallest value that so many of all values don't exceed, within 1 %."""
    first, counts = histogram
    below = [*accumulate(counts)]
    count = below[-1]
    return [_VALUES_US[first + bisect_left(below, -(-count * percent // 100))] for percent in percents]


def _with_listed(histogram: Histogram, bins: list[int]) -> Histogram:
    first, counts = histogram
    low, end = min(bins), max(bins) + 1
    if counts:
        low, end = min(low, first), max(end, first + len(counts))
        counts = [0] * (first - low) + counts + [0] * (end - first - len(counts))
    else:
        counts = [0] * (end - low)
    for number in bins:
        counts[number - low] += 1
    return Histogram(low, counts)


def _add(dense: list[bytes]) -> Histogram:
    """Each sketch as one long integer whose digits are its counts, so that adding them is one addition."""
    low, end, widest = MAX_COUNT, 0, 1
    for one in dense:
        bins = len(one) - _HEADER_BYTES
        if one[0] > 1:  # few have counts of more than a byte
            bins, rest = divmod(bins, one[0])
            if rest or one[0] not in _LANES:
                raise ValueError("no sketch")
            widest = max(widest, one[0])
        first = one[1] | one[2] << 8
        # min and max would take a third of the time that all of this does.
        if first < low:
            low = first
        if first + bins > end:
            end = first + bins
    if len(dense) == 1:
        return Histogram(low, _unpack(_LANES[widest], dense[0][_HEADER_BYTES:]))
    # No digit may overflow: 257 counts of one byte fit into two, 65,537 of two into four.
    lane = 2 if widest == 1 and len(dense) <= 257 else 4 if widest <= 2 and len(dense) <= 65_537 else 8
    total = 0
    for one in dense:
        start = ((one[1] | one[2] << 8) - low) * lane
        width = one[0]
        wide = bytearray(start + (len(one) - _HEADER_BYTES) // width * lane)
        for byte in range(width):
            wide[start + byte :: lane] = one[_HEADER_BYTES + byte :: width]
        total += int.from_bytes(wide, "little")
    return Histogram(low, _unpack(_LANES[lane], total.to_bytes((end - low) * lane, "little")))


def _is_sparse(values: int, bins: int) -> bool:
    """Whether bins of single values are listed: they are slower to add up, so only where this is much shorter."""
    return values * _BIN_BYTES * 2 <= bins + 4


def _width(largest: int) -> int:
    return next(width for width in _LANES if largest < 1 << 8 * width)


def _pack(typecode: str, numbers: Sequence[int]) -> bytes:
    lanes = array(typecode, numbers)
    if sys.byteorder == "big":
        lanes.byteswap()
    return lanes.tobytes()


def _unpack(typecode: str, packed: bytes) -> list[int]:
    lanes = array(typecode, packed)
    if sys.byteorder == "big":
        lanes.byteswap()
    return lanes.tolist()
