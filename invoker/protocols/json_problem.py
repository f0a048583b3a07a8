"""Why a body is no JSON, in a sentence that is true; the decoder's own say "truncated" of much that is not."""

import codecs
import re

import msgspec

Invalid = msgspec.DecodeError | UnicodeDecodeError | RecursionError

_PLACE = re.compile(r"\(byte ([0-9]+)\)$")
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity)\b", re.IGNORECASE)
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*\\u(?:d[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2}\\u)d[c-f])", re.IGNORECASE
)
_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def json_problem(body: bytes, error: Invalid) -> str:
    """What is wrong with a body that one of the decoders refused with this error; "it" is the body."""
    if not body.strip():
        return "it is empty" if not body else "it is blank"
    if body.startswith(_UTF16_OR_32):
        return "it is UTF-16 or UTF-32, and JSON is UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8: {error.reason} (byte {error.start})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    message = str(error)
    if isinstance(error, msgspec.ValidationError):
        return message
    if "truncated" in message:
        if body.rstrip().endswith(b"}") and _LONE_SURROGATE.search(body):
            return "a string in it has half of a surrogate pair, which is no text"
        return f"it ends too early, after {len(body)} bytes"
    if (place := _PLACE.search(message)) is not None:
        byte = int(place[1])  # the first letter may have passed for the beginning of null, or of a number
        if (word := _NOT_A_NUMBER.search(body, max(byte - 1, 0))) is not None and word.start() <= byte:
            return f"{word[0].decode()} is no JSON (byte {word.start()})"
    return message
