"""Whether a body says twice what is read of it. JSON allows a key twice, and parsers differ in which of them they
take: another model might run than the record says."""

import json
import re

import msgspec

MAX_COLONS = 20_000
"""With more of them beside `input`, to look at all keys would take over 20 ms."""
TOO_MANY = "so much else that it can't be told whether it says a key twice"

_NEXT_KEY = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*')
_END = re.compile(rb"[ \t\r\n]*\}")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def repeated_key(body: bytes, innermost: msgspec.Raw) -> str | None:
    """What a valid request says twice, in words; None if each key that is read stands there once beside `innermost`,
    the value of `input`, and no escape can hide another, or if no key at all is repeated."""
    inner = bytes(innermost)
    if (
        body.count(b'model_id"') - inner.count(b'model_id"') == 1
        and body.count(b'input"') - inner.count(b'input"') == 2
        and body.count(b'tags"') - inner.count(b'tags"') <= 1
        and body.count(b"\\u") == inner.count(b"\\u")
    ):
        return None
    if body.count(b":") - inner.count(b":") > MAX_COLONS:
        return TOO_MANY
    members = _members.decode(body)
    return first_repeated(body, members) or first_repeated(bytes(members["worklet_input"]))


def first_repeated(text: bytes, members: dict[str, msgspec.Raw] | None = None) -> str | None:
    """What an object says twice, not looking into its members, in words. The decoder keeps the last value of a key: so
    each key's value must be the one that follows it."""
    members = _members.decode(text) if members is None else members
    seen: set[str] = set()
    place = 0
    while (match := _NEXT_KEY.match(text, place)) is not None:
        key: str = json.loads(match[1])
        value = bytes(members[key])
        place = match.end() + len(value)
        if key in seen or not text.startswith(value, match.end()):
            return f"{key[:64]!r} twice"
        seen.add(key)
    return None if _END.match(text, place) else f"{key[:64]!r} twice"


def place_of(text: bytes, wanted: str) -> tuple[int, int] | None:
    """Where the value of one of an object's own keys stands; None if there is none, or another is said twice before."""
    members = _members.decode(text)
    place = 0
    while (match := _NEXT_KEY.match(text, place)) is not None:
        key: str = json.loads(match[1])
        value = bytes(members[key])
        place = match.end() + len(value)
        if not text.startswith(value, match.end()):
            return None
        if key == wanted:
            return match.end(), place
    return None
