"""Compressed bodies: whatever is undone is undone whole, within a bound, or it is said what is wrong."""

import gzip
import random
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest

from invoker.http.codings import MAX_CODINGS, MAX_MEMBERS, BrokenCodingError, TooLargeError, UnknownCodingError, decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 1_000_000


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd.compress),
    ("br", brotli.compress),
]
BODIES = [
    b"",
    b"x",
    b"[1, 2, 3]" * 20_000,
    bytes(LIMIT),
    random.Random(1).randbytes(LIMIT),
    b"\x78\x9c" + random.Random(2).randbytes(300_000),
]


def whole(body: bytes, content_encoding: str, limit: int = LIMIT) -> bytes:
    return b"".join(decoded(body, content_encoding, limit))


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize(("name", "pack"), CODINGS)
def test_what_was_packed_comes_out(name: str, pack: Callable[[bytes], bytes], body: bytes) -> None:
    """By any of the codings, under any case of its name, up to the limit and not a byte further, in small pieces."""
    packed = pack(body)
    assert whole(packed, name.upper()) == body
    assert all(len(piece) <= 700_000 for piece in decoded(packed, name, LIMIT))
    if body:
        with pytest.raises(TooLargeError):
            whole(packed, name, len(body) - 1)


@pytest.mark.parametrize("content_encoding", ["", "identity", " Identity ,", ","])
def test_what_was_not_packed(content_encoding: str) -> None:
    """It stays as it is."""
    assert whole(b"abc", content_encoding) == b"abc"


def test_several_codings_are_undone_in_turn() -> None:
    """The last that was applied is the first to be undone."""
    packed = brotli.compress(zstd.compress(gzip.compress(b"abc")))
    assert whole(packed, "gzip, identity,zstd , br") == b"abc"
    with pytest.raises(UnknownCodingError, match=f"4 codings; at most {MAX_CODINGS}"):
        decoded(packed, "gzip, gzip, gzip, gzip", LIMIT)


@pytest.mark.parametrize("content_encoding", ["compress", "gzip, lzma", "gzip;q=1", "*", "gzip br", "snappy, gzip"])
def test_an_unknown_coding_is_never_ignored(content_encoding: str) -> None:
    """Nothing is undone then; what is known is said."""
    with pytest.raises(UnknownCodingError, match=r"is not known here; gzip, deflate, zstd, br are"):
        decoded(gzip.compress(b"abc"), content_encoding, LIMIT)


@pytest.mark.parametrize(("name", "pack"), CODINGS)
def test_what_is_broken(name: str, pack: Callable[[bytes], bytes]) -> None:
    """Cut off anywhere, followed by something else, or nothing of the kind."""
    packed = pack(b"[1, 2, 3]" * 20_000)
    for length in {*range(0, len(packed), 7), len(packed) - 1}:
        with pytest.raises(BrokenCodingError):
            whole(packed[:length], name)
    for rest in (b"\0", b"x", b"\n", b"trailing garbage"):
        with pytest.raises(BrokenCodingError):
            whole(packed + rest, name)
    for noise in (b"{}", b"\0\0\0\0\0\0", b"not packed at all"):
        with pytest.raises(BrokenCodingError):
            whole(noise, name)


@pytest.mark.parametrize(("name", "pack"), [CODINGS[0], CODINGS[4]])
def test_members_that_follow_each_other_are_one_body(name: str, pack: Callable[[bytes], bytes]) -> None:
    """As both formats have it."""
    assert whole(pack(b"a" * 500_000) + pack(b"") + pack(b"b"), name) == b"a" * 500_000 + b"b"


@pytest.mark.parametrize("content_encoding", ["gzip", "gzip, gzip", "br, gzip, gzip"])
def test_others_have_their_turn_between_members_that_hold_nothing(content_encoding: str) -> None:
    """Of however many codings, each of them is a piece; beyond a bound they are refused."""
    member = gzip.compress(b"")
    pieces = decoded(member * 1_000, content_encoding, LIMIT)
    assert [next(pieces) for _ in range(1_000)] == [b""] * 1_000
    with pytest.raises(BrokenCodingError, match=f"its gzip has more than {MAX_MEMBERS} parts"):
        whole(member * (MAX_MEMBERS + 1), content_encoding)


@pytest.mark.parametrize(("name", "pack"), CODINGS)
def test_a_bomb_is_not_unpacked(name: str, pack: Callable[[bytes], bytes]) -> None:
    """No more than the limit comes out, and of two codings no more comes out of the first."""
    bomb = pack(bytes(50_000_000))
    pieces = decoded(bomb, name, LIMIT)
    seen: list[int] = []
    with pytest.raises(TooLargeError):
        seen.extend(len(piece) for piece in pieces)
    assert sum(seen) <= LIMIT
    with pytest.raises(TooLargeError):
        whole(gzip.compress(bomb + bytes(50_000_000)), f"{name}, gzip")
