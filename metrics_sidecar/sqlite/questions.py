"""What the sidecar and a process that reads the history say to each other: frames of msgpack behind their length."""

from typing import Literal

import msgspec

from metrics_sidecar.history.aggregate import Ask, Table
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow
from shared.framing import framed


class Page(msgspec.Struct, frozen=True, tag=True, array_like=True):
    query: HistoryQuery


class One(msgspec.Struct, frozen=True, tag=True, array_like=True):
    row_id: str


class Aggregate(msgspec.Struct, frozen=True, tag=True, array_like=True):
    ask: Ask


class File(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All of an export, in pieces."""

    wanted: Export


class Sign(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Of life."""


Question = Page | One | Aggregate | File | Sign
"""Most are a method of `Reader`."""

Found = HistoryPage | HistoryRow | Table | bytes | None


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A question, and how many seconds its answer may take. Without one: what is being read is no longer of interest,
    if anything is."""

    question: Question | None = None
    seconds: float | None = None


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """What was found, still encoded, or why nothing could be. Each question has one such end; pieces come before
    it, of which each is followed by its bytes: `size` of them."""

    outcome: Literal["piece", "found", "too long", "left", "store", "not built", "too many models", "defect"]
    reason: str
    found: msgspec.Raw
    size: int = 0


_encoder = msgspec.msgpack.Encoder()
_asked = msgspec.msgpack.Decoder(Asked)
_answered = msgspec.msgpack.Decoder(Answered)


def encode(message: Asked | Answered) -> bytes:
    """One frame, with its length."""
    return framed(_encoder.encode(message))


def encode_found(found: Found) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(found))


def decode_asked(body: bytes) -> Asked:
    return _asked.decode(body)


def decode_answered(body: bytes) -> Answered:
    return _answered.decode(body)
