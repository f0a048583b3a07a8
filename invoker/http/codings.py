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
_STREAMED = ("gzip", "x-gzip", "deflate")
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
    unpacking = Unpacking(name, max_bytes)
    for piece in pieces:
        yield from unpacking.feed(piece)
    unpacking.end()


def streamed_coding(content_encoding: bytes) -> str:
    """The one that a stream comes in, which was asked for without, and that can be undone bit by bit; empty if it has
    none. `UnknownCodingError` for another."""
    name = content_encoding.decode("latin-1").strip(" \t").lower()
    if name in ("", "identity"):
        return ""
    if name not in _STREAMED:
        raise UnknownCodingError(f"its stream's Content-Encoding {name[:32]!r} wasn't asked for")
    return name


class Unpacking:
    """Undoes one coding of a body that comes bit by bit."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._decoder: _Decoder | None = None
        self._unpacked_bytes = 0
        self._members = 0
        self._kept = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next piece unpacks to, as far as that can be told by now. `BrokenCodingError`, `TooLargeError`."""
        if not data:
            yield data  # or what unpacks to nothing would be gone through in one go
        if self._decoder is None and self._name == "deflate":
            data = self._kept + data
            if len(data) < _DEFLATE_BEGIN_BYTES:
                self._kept = data
                return
        while data or not (self._decoder is None or self._decoder.eof or self._decoder.needs_input):
            decoder = self._decoder_for(data)
            try:
                plain = decoder.decompress(data, PIECE_BYTES)
            except (zlib.error, brotli.error, zstd.ZstdError):
                raise BrokenCodingError(f"it is not {self._name} to its end") from None
            data = decoder.unused_data if decoder.eof else b""
            self._unpacked_bytes += len(plain)
            if self._unpacked_bytes > self._max_bytes:
                raise TooLargeError
            yield plain

    def end(self) -> None:
        """No more comes. `BrokenCodingError`."""
        if self._decoder is None or not self._decoder.eof:
            raise BrokenCodingError(f"its {self._name} breaks off")

    def _decoder_for(self, data: bytes) -> _Decoder:
        if self._decoder is not None and not self._decoder.eof:
            return self._decoder
        if self._decoder is not None and self._name not in _MEMBERS:
            raise BrokenCodingError(f"something follows its {self._name}")
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise BrokenCodingError(f"its {self._name} has more than {MAX_MEMBERS} parts")
        self._decoder = _MAKERS[self._name](data)
        return self._decoder


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


_DEFLATE_BEGIN_BYTES = 2


def _deflate(data: bytes) -> _Zlib:
    """In zlib's wrapping, as the standard says, or without, as some send it."""
    wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:_DEFLATE_BEGIN_BYTES]) % 31 == 0
    return _Zlib(_ZLIB_BITS if wrapped else _RAW_BITS)


_MAKERS: dict[str, Callable[[bytes], _Decoder]] = {
    "gzip": lambda _data: _Zlib(_GZIP_BITS),
    "x-gzip": lambda _data: _Zlib(_GZIP_BITS),
    "deflate": _deflate,
    "zstd": lambda _data: zstd.ZstdDecompressor(),
    "br": lambda _data: _Brotli(),
}
