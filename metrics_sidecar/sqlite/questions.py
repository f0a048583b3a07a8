"""What the sidecar and the process that reads the history say to each other: frames of msgpack behind their length."""

import struct
from typing import Literal

import msgspec

from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow
from metrics_sidecar.history.windows import SeriesAnswer, SeriesQuery, Window, WindowAnswer
from metrics_sidecar.ledger.totals import ModelTotals

LENGTH = struct.Struct(">I")
SIGN = 0
"""The number that asks for a sign of life."""


class History(msgspec.Struct, frozen=True, tag=True, array_like=True):
    query: HistoryQuery


class Invocation(msgspec.Struct, frozen=True, tag=True, array_like=True):
    row_id: int


class Totals(msgspec.Struct, frozen=True, tag=True, array_like=True):
    models: tuple[str, ...]
    prefixes: tuple[str, ...]


class InWindow(msgspec.Struct, frozen=True, tag=True, array_like=True):
    window: Window
    models: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


class Series(msgspec.Struct, frozen=True, tag=True, array_like=True):
    query: SeriesQuery


Question = History | Invocation | Totals | InWindow | Series
"""Each is a method of `Queries`."""

Found = HistoryPage | HistoryRow | None | dict[str, ModelTotals] | WindowAnswer | SeriesAnswer


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A question and its number; without one, that of this number is no longer of interest. `SIGN` is answered
    by a question that has begun."""

    number: int
    question: Question | None


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """To the question of this number: what was found, still encoded, or why nothing could be. Before it, that a search
    has begun."""

    number: int
    outcome: Literal["begun", "found", "store", "not built", "too many models", "defect"]
    reason: str
    found: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_asked = msgspec.msgpack.Decoder(Asked)
_answered = msgspec.msgpack.Decoder(Answered)


def encode(message: Asked | Answered) -> bytes:
    """One frame, with its length."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def encode_found(found: Found) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(found))


def decode_asked(body: bytes) -> Asked:
    return _asked.decode(body)


def decode_answered(body: bytes | bytearray) -> Answered:
    return _answered.decode(body)
