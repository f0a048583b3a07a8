"""What a caller sees of one answer, in each protocol: how it ended, what it counted, and when its output began."""

from typing import Any, Literal

import msgspec

INVOCATION_STATUSES = frozenset({200, 429, 500, 502, 503, 504})
REJECTED_STATUSES = frozenset({400, 404, 413, 415, 422})

Verdict = Literal["successful", "failed", "rejected", "unknown"]
"""`unknown`: no whole answer came, or one of which a caller can't tell whether it was a call: recorded or not."""


class Seen(msgspec.Struct):
    """One answer. `status`: of HTTP, or a word for why there is none. `unfinished`: its body came to an end that
    nothing in it had told."""

    verdict: Verdict = "unknown"
    status: str = ""
    events: int = 0
    first_output_at: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    unfinished: bool = False


class _Answer(msgspec.Struct):
    success: bool


_decode_answer: msgspec.json.Decoder[_Answer] = msgspec.json.Decoder(_Answer)


def verdict_of(status: int, body: bytes) -> Verdict:
    """Of a whole answer to `POST /invoke`."""
    if status in REJECTED_STATUSES:
        return "rejected"
    if status not in INVOCATION_STATUSES:
        return "unknown"
    try:
        return "successful" if _decode_answer.decode(body).success else "failed"
    except (msgspec.DecodeError, RecursionError, ValueError):
        return "unknown"


class _Usage(msgspec.Struct):
    """Of either dialect; Anthropic counts what a cache had apart."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Choice(msgspec.Struct):
    delta: dict[str, Any] = {}
    finish_reason: str | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Said(msgspec.Struct):
    """A whole answer or an event, of either dialect: what is read of it."""

    type: str | None = None
    error: Any = None
    choices: list[_Choice] = []
    stop_reason: str | None = None
    usage: _Usage | None = None
    message: _Message | None = None


_decode_said: msgspec.json.Decoder[_Said] = msgspec.json.Decoder(_Said)


class Reading:
    """Reads the 2xx answer of a dialect, whole or event by event."""

    def __init__(self, seen: Seen) -> None:
        self.failed = False
        self._seen = seen
        self._ended = False
        self._rest = b""

    def whole(self, body: bytes) -> None:
        """An answer that is no stream."""
        said = _decode(body)
        if said is not None:
            self._note(said)
            self._ended = said.stop_reason is not None or _finished(said)

    def feed(self, data: bytes, now: float) -> None:
        """Some of a stream, which came at that moment."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            if name == b"data":
                self._event(value.removeprefix(b" "), now)

    def end(self) -> None:
        """The body is at its end."""
        self._seen.unfinished = not self._ended and not self.failed
        self._seen.verdict = "successful" if self._ended and not self.failed else "failed"

    def _event(self, data: bytes, now: float) -> None:
        self._seen.events += 1
        if data == b"[DONE]":
            self._ended = True
        elif (said := _decode(data)) is not None:
            self._note(said)
            self._ended = self._ended or said.type == "message_stop" or _finished(said)
            if self._seen.first_output_at is None and _is_output(said):
                self._seen.first_output_at = now

    def _note(self, said: _Said) -> None:
        self.failed = self.failed or said.error is not None
        usage = said.usage or (said.message.usage if said.message is not None else None)
        if usage is None:
            return
        if usage.prompt_tokens is not None:
            self._seen.input_tokens, self._seen.output_tokens = usage.prompt_tokens, usage.completion_tokens
            return
        if usage.input_tokens is not None:
            cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
            self._seen.input_tokens = usage.input_tokens + cached
        if usage.output_tokens is not None:
            self._seen.output_tokens = usage.output_tokens


def _decode(data: bytes) -> _Said | None:
    try:
        return _decode_said.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def _finished(said: _Said) -> bool:
    return any(choice.finish_reason is not None for choice in said.choices)


def _is_output(said: _Said) -> bool:
    if said.type is not None:
        return said.type == "content_block_delta"
    return any(value for choice in said.choices for name, value in choice.delta.items() if name != "role")
