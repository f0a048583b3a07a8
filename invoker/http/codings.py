"""Content codings (RFC 9110, 8.4): bodies as they were before they were compressed, within a bound.

UnknownCodingError   none of ours
BrokenCodingError    what came is not in that coding, breaks off, or goes on behind its end
TooLargeError        it is larger than the limit, or was between two codings
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, zstd, br"
MAX_CODINGS = 3
"""One upon the other; more are not known."""
MAX_MEMBERS = 10_000
"""In one body, each of which takes some microseconds, and may be empty."""
PIECE_BYTES = 256 * 1024
"""What is unpacked at a time, within a millisecond."""
READ_BYTES = 64 * 1024
_MEMBERS = ("gzip", "x-gzip", "zstd")  # may follow each other, and are one body
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class UnknownCodingError(Exception):
    """The message names it."""


class BrokenCodingError(Exception):
    """The message says how."""


class TooLargeError(Exception):
    """Has no message."""


class _Decoder(Protocol):
    """As the newer decompressors of the standard library have it; `decompress` with nothing gives more of what came."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def decoded(body: bytes, content_encoding: str, max_bytes: int) -> Iterator[bytes]:
    """The body in pieces of some 256 KiB, some of them empty: each takes a millisecond or so. Raises all three errors,
    the first one at once."""
    pieces: Iterator[bytes] = (body[place : place + READ_BYTES] for place in range(0, len(body), READ_BYTES))
    for name in reversed(_known(content_encoding)):
        pieces = _decode(name, pieces, max_bytes)
    return pieces


def _known(content_encoding: str) -> list[str]:
    names = [name for name in (part.strip(" \t").lower() for part in content_encoding.split(",")) if name]
    names = [name for name in names if name != "identity"]
    for name in names:
        if name not in _MAKERS:
            raise UnknownCodingError(f"Content-Encoding {name[:32]!r} is not known here; {ACCEPTED} are")
    if len(names) > MAX_CODINGS:
        raise UnknownCodingError(f"Content-Encoding names {len(names)} codings; at most {MAX_CODINGS} are undone")
    return names


def _decode(name: str, pieces: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    decoder: _Decoder | None = None
    unpacked_bytes = members = 0
    for piece in pieces:
        data = piece
        if not data:
            yield data  # or what unpacks to nothing would be gone through in one go
        while data or (decoder is not None and not decoder.eof and not decoder.needs_input):
            if decoder is not None and decoder.eof and name not in _MEMBERS:
                raise BrokenCodingError(f"something follows its {name}")
            if decoder is None or decoder.eof:
                decoder = _MAKERS[name](data)
                members += 1
                if members > MAX_MEMBERS:
                    raise BrokenCodingError(f"its {name} has more than {MAX_MEMBERS} parts")
            try:
                plain = decoder.decompress(data, PIECE_BYTES)
            except (zlib.error, brotli.error, zstd.ZstdError):
                raise BrokenCodingError(f"it is not {name} to its end") from None
            data = decoder.unused_data if decoder.eof else b""
            unpacked_bytes += len(plain)
            if unpacked_bytes > max_bytes:
                raise TooLargeError
            yield plain
    if decoder is None or not decoder.eof:
        raise BrokenCodingError(f"its {name} breaks off")


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._inflate = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


class _Brotli:
    unused_data = b""  # what follows its end is an error

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._gave = False  # which it may do again, or find that it has ended, without any more input

    @property
    def eof(self) -> bool:
        return bool(self._decompressor.is_finished())

    @property
    def needs_input(self) -> bool:
        return not self._gave and bool(self._decompressor.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int) -> bytes:
        plain: bytes = self._decompressor.process(data, output_buffer_limit=max_length)
        self._gave = bool(plain)
        return plain


def _deflate(data: bytes) -> _Zlib:
    """In zlib's wrapping, as the standard says, or without, as some send it."""
    wrapped = data[0] & 0x0F == 8 and (len(data) < 2 or int.from_bytes(data[:2]) % 31 == 0)
    return _Zlib(_ZLIB_BITS if wrapped else _RAW_BITS)


_MAKERS: dict[str, Callable[[bytes], _Decoder]] = {
    "gzip": lambda _data: _Zlib(_GZIP_BITS),
    "x-gzip": lambda _data: _Zlib(_GZIP_BITS),
    "deflate": _deflate,
    "zstd": lambda _data: zstd.ZstdDecompressor(),
    "br": lambda _data: _Brotli(),
}
