"""How many tokens an upstream says that its answer took. What isn't a count is no count, and no error of the caller's.

OpenAI's input tokens hold those that came from a cache, and its output tokens those of reasoning; Anthropic's input
tokens are only those beside a cache, so that they are added up here. Either way `cached_input_tokens` are a part of
`input_tokens` then, and `reasoning_tokens` of `output_tokens`.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from invoker.protocols.base import Usage

NOTHING = msgspec.Raw(b"")
MAX_TOKENS = 1_000_000_000
"""More in one answer are none."""
MAX_REPORT_BYTES = 16 * 1024

Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
_COUNT = re.compile(rb"[0-9]{1,10}")
_USAGE = re.compile(rb'(?<!\\)"usage"[ \t\r\n]*:[ \t\r\n]*(?=\{)')
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


Meaning = Callable[[bytes | msgspec.Raw, bytes | msgspec.Raw], Usage | None]
"""What a dialect's reports mean: the last one, and one that it goes on from; either may be empty."""


class _Cached(msgspec.Struct):
    cached_tokens: Count | None = None


class _Reasoning(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _OpenAI(msgspec.Struct):
    """Of chats, completions and embeddings; the other names are those of responses."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Reasoning | None = None


class _Anthropic(msgspec.Struct):
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = NOTHING


Report = TypeVar("Report", _OpenAI, _Anthropic)
_answers = msgspec.json.Decoder(_Answer)
_openai = msgspec.json.Decoder(_OpenAI)
_anthropic = msgspec.json.Decoder(_Anthropic)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def find_report(answer: bytes) -> bytes:
    """The `usage` of a whole answer; empty if it has none, or is no JSON."""
    if answer.rfind(b'"usage"') < 0:  # it stands near the end, mostly
        return b""
    try:
        found = bytes(_answers.decode(answer).usage)
    except _NOT_READ:
        return b""
    return found if len(found) <= MAX_REPORT_BYTES else b""


def last_report(end: bytes) -> bytes:
    """The last `usage` in the end of an answer that is too large to be read: as a key, for within a text its quotes
    would be escaped."""
    begins = [match.end() for match in _USAGE.finditer(end)]
    if not begins:
        return b""
    try:
        _, size = json.JSONDecoder().raw_decode(end[begins[-1] :].decode("latin-1"))
    except (ValueError, RecursionError):
        return b""
    return end[begins[-1] : begins[-1] + size]


def openai_usage(report: bytes | msgspec.Raw, _before: bytes | msgspec.Raw = b"") -> Usage | None:
    """A `Meaning`: each report holds all, and so the last one counts."""
    said = _read(_openai, report)
    if said is None:
        return None
    given = said.input_tokens if said.prompt_tokens is None else said.prompt_tokens
    output = said.output_tokens if said.completion_tokens is None else said.completion_tokens
    cached = said.prompt_tokens_details or said.input_tokens_details
    reasoned = said.completion_tokens_details or said.output_tokens_details
    reasoning = None if reasoned is None else reasoned.reasoning_tokens
    if reasoning and given is not None and output is not None and said.total_tokens == given + output + reasoning:
        output += reasoning  # some vendors count them beside the others
    return _usage(given, None if cached is None else cached.cached_tokens, output, reasoning)


def anthropic_usage(report: bytes | msgspec.Raw, before: bytes | msgspec.Raw = b"") -> Usage | None:
    """A `Meaning`: a report may leave out, or say 0 of, what the one before has said."""
    said = _read(_anthropic, report) or _Anthropic()
    first = (_read(_anthropic, before) if before else None) or said
    plain = said.input_tokens or first.input_tokens
    made = said.cache_creation_input_tokens or first.cache_creation_input_tokens
    cached = said.cache_read_input_tokens or first.cache_read_input_tokens
    plain = said.input_tokens if plain is None else plain
    output = said.output_tokens or first.output_tokens
    given = None if plain is None else plain + (made or 0) + (cached or 0)
    return _usage(given, cached, said.output_tokens if output is None else output, None)


def _usage(given: int | None, cached: int | None, output: int | None, reasoning: int | None) -> Usage | None:
    """None if nothing is known. What is more than its whole is no part of it."""
    if given is None and output is None:
        return None
    if given is None or cached is None or cached > given:
        cached = None
    if output is None or reasoning is None or reasoning > output:
        reasoning = None
    return Usage(given, cached, output, reasoning)


def _read(decoder: msgspec.json.Decoder[Report], report: bytes | msgspec.Raw) -> Report | None:
    """None of what is no object."""
    try:
        return decoder.decode(report)
    except msgspec.ValidationError:
        pass
    except _NOT_READ:
        return None
    try:
        return msgspec.convert(_counts(report), decoder.type)
    except _NOT_READ:
        return None


def _counts(report: bytes | msgspec.Raw) -> dict[str, Any]:
    """What counts in it, and in its details."""
    found: dict[str, Any] = {}
    for name, value in _members.decode(report).items():
        if not name.endswith("_details"):
            if _COUNT.fullmatch(bytes(value)) and int(bytes(value)) <= MAX_TOKENS:
                found[name] = int(bytes(value))
        elif bytes(value).startswith(b"{"):
            found[name] = _counts(value)
    return found
