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


def merge(sketches: Iterable[bytes], without: Iterable[bytes] = ()) -> Histogram:
    """All of them together, less some that they hold. `ValueError` for what no sketch can be."""
    dense, bins = _sort_out(sketches)
    less, fewer_bins = _sort_out(without)
    histogram = _add(dense, less) if dense or less else NOTHING
    return _with_listed(histogram, bins, fewer_bins) if bins or fewer_bins else histogram


def quantiles_us(histogram: Histogram, percents: Iterable[int]) -> list[float]:
    """For each percentage the smallest value that so many of all values don't exceed, within 1 %."""
    first, counts = histogram
    below = [*accumulate(counts)]
    count = below[-1]
    return [_VALUES_US[first + bisect_left(below, -(-count * percent // 100))] for percent in percents]


def quantile_us(encoded: bytes, count: int, percent: int) -> float:
    """The same of one sketch of so many values: much faster, as a series has thousands of these."""
    above = count - -(-count * percent // 100)  # so many values may be larger
    if encoded[0] == _LISTED:
        low, high = encoded[len(encoded) - _BIN_BYTES * (above + 1) :][:_BIN_BYTES]
        return _VALUES_US[low | high << 8]
    width, counts = encoded[0], encoded[_HEADER_BYTES:]
    number = (encoded[1] | encoded[2] << 8) + len(counts) // width
    for larger in reversed(counts if width == 1 else _unpack(_LANES[width], counts)):
        number -= 1
        above -= larger
        if above < 0:
            break
    return _VALUES_US[number]


def _sort_out(sketches: Iterable[bytes]) -> tuple[list[bytes], list[int]]:
    """Those that have counts, and the bins that the others list."""
    dense: list[bytes] = []
    listed: list[bytes] = []
    for one in sketches:
        if one:
            if one[0]:
                dense.append(one)
            else:
                listed.append(one[1:])
    return dense, _unpack("H", b"".join(listed)) if listed else []


def _with_listed(histogram: Histogram, bins: list[int], less: list[int]) -> Histogram:
    low, end = min(bins + less), max(bins + less) + 1
    first, counts = histogram
    if counts:
        low, end = min(low, first), max(end, first + len(counts))
        counts = [0] * (first - low) + counts + [0] * (end - first - len(counts))
    else:
        counts = [0] * (end - low)
    for number in bins:
        counts[number - low] += 1
    for number in less:
        counts[number - low] -= 1
    return Histogram(low, counts)


def _add(dense: list[bytes], less: list[bytes]) -> Histogram:
    """Each sketch as one long integer whose digits are its counts, so that adding them is one addition."""
    low, end, widest = MAX_COUNT, 0, 1
    for one in dense + less:
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
    if len(dense) == 1 and not less:
        return Histogram(low, _unpack(_LANES[widest], dense[0][_HEADER_BYTES:]))
    # No digit may overflow, with a sign: 128 counts of one byte fit into two, 32,768 of two into four.
    most = max(len(dense), len(less))
    lane = 2 if widest == 1 and most <= 128 else 4 if widest <= 2 and most <= 32_768 else 8
    size = (end - low) * lane
    totals: list[int] = []
    for some in (dense, less):
        total = 0
        for one in some:
            start = ((one[1] | one[2] << 8) - low) * lane
            if one[0] == 1:
                wide = bytearray(start + (len(one) - _HEADER_BYTES) * lane)
                wide[start::lane] = one[_HEADER_BYTES:]
            else:
                wide = bytearray(start + (len(one) - _HEADER_BYTES) // one[0] * lane)
                for byte in range(one[0]):
                    wide[start + byte :: lane] = one[_HEADER_BYTES + byte :: one[0]]
            total += int.from_bytes(wide, "little")
        totals.append(total)
    if not less:
        return Histogram(low, _unpack(_LANES[lane], totals[0].to_bytes(size, "little")))
    # A digit may be below 0 as long as what is listed is missing: with half a lane added to each, none borrows from
    # the next, and without its highest bit again it is a signed one.
    halves = int.from_bytes((bytes(lane - 1) + b"\x80") * (end - low), "little")
    digits = (totals[0] - totals[1] + halves) ^ halves
    return Histogram(low, _unpack(_LANES[lane].lower(), digits.to_bytes(size, "little")))


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
