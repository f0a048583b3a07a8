"""The opaque cursor of a history page: base64url without padding of [version, order, timestamp, id]."""

import base64
from typing import Literal

import msgspec

from metrics_sidecar.queries import Order, Position
from shared.record import Count

VERSION: Literal[1] = 1


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: Literal[1]
    order: Order
    timestamp_us: Count
    id: Count


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Cursor)


def encode_cursor(order: Order, position: Position) -> str:
    """Where the page of this order goes on."""
    cursor = _Cursor(VERSION, order, position.timestamp_us, position.id)
    return base64.urlsafe_b64encode(_encoder.encode(cursor)).rstrip(b"=").decode()


def decode_cursor(text: str) -> tuple[Order, Position]:
    """The inverse; `ValueError` for anything that `encode_cursor` can't have made."""
    try:
        cursor = _decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError("not a cursor") from error
    position = Position(cursor.timestamp_us, cursor.id)
    if encode_cursor(cursor.order, position) != text:  # base64 decoders skip what they don't know
        raise ValueError("not a cursor")
    return cursor.order, position
