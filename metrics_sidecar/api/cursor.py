"""The opaque cursor of a history page: base64url without padding of [version, order, filter, timestamp, id]."""

import base64
import hashlib
from typing import Literal

import msgspec

from metrics_sidecar.history.queries import HistoryFilter, Order, Position
from shared.record import Count

VERSION: Literal[2] = 2
FINGERPRINT_BYTES = 8


class Cursor(msgspec.Struct, frozen=True):
    """Where the page of this order and this filter goes on."""

    order: Order
    fingerprint: bytes
    position: Position


class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: Literal[2]
    order: Order
    fingerprint: bytes
    timestamp_us: Count
    id: Count


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def fingerprint(wanted: HistoryFilter) -> bytes:
    """Tells a filter from any other."""
    return hashlib.blake2b(_encoder.encode(wanted), digest_size=FINGERPRINT_BYTES).digest()


def encode_cursor(cursor: Cursor) -> str:
    position = cursor.position
    stored = _Stored(VERSION, cursor.order, cursor.fingerprint, position.timestamp_us, int(position.id))
    return base64.urlsafe_b64encode(_encoder.encode(stored)).rstrip(b"=").decode()


def decode_cursor(text: str) -> Cursor:
    """The inverse; `ValueError` for anything that `encode_cursor` can't have made."""
    try:
        stored = _decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError("not a cursor") from error
    cursor = Cursor(stored.order, stored.fingerprint, Position(stored.timestamp_us, str(stored.id)))
    if encode_cursor(cursor) != text:  # base64 decoders skip what they don't know
        raise ValueError("not a cursor")
    return cursor
