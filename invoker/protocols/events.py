"""Streams of server-sent events that go through: whole events, until the one that says how the answer ended."""

import re
from typing import Any

import msgspec

from invoker.protocols.base import InvalidAnswerError

MAX_EVENT_BYTES = 1024 * 1024
"""A larger event goes on in parts, and only its name is read."""
MAX_MESSAGE_CHARS = 512
ENDS = frozenset(("message_stop", "response.completed", "response.incomplete"))
FAILURES = frozenset(("error", "response.failed"))

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class _Delta(msgspec.Struct):
    stop_reason: Any = None


class _Said(msgspec.Struct):
    """What is read of an event's data, in any of the dialects."""

    type: Any = None
    error: Any = None
    choices: list[_Choice] | None = None
    delta: _Delta | str | None = None


_said = msgspec.json.Decoder(_Said)


class EventReader:
    """Implements `StreamReader`."""

    def __init__(self) -> None:
        self.size = 0
        self.held = b""
        self.ended = False
        self.complete = False
        self._failure = ""
        self._unsent = bytearray()
        self._looked_at = 0  # of those

    def feed(self, chunk: bytes) -> bytes:
        unsent = self._unsent
        if not unsent and not self.ended and _is_event(chunk):
            return self._feed_event(chunk)
        unsent += chunk
        self.size += len(chunk)
        begin = 0
        while not self.ended and (end := _end_of_event(unsent, max(self._looked_at, begin))):
            self._note(bytes(unsent[begin:end]))
            if not self.ended:
                begin = end
        if not self.ended and len(unsent) - begin > MAX_EVENT_BYTES:
            self._note_name(bytes(unsent[begin : begin + 256]))
            begin = len(unsent)
        whole = bytes(unsent[:begin])
        del unsent[:begin]
        self._looked_at = max(len(unsent) - 3, 0)
        self.held = bytes(unsent) if self.ended else b""
        return whole

    def _feed_event(self, event: bytes) -> bytes:
        """As most come: alone and whole."""
        self.size += len(event)
        self._note(event)
        if not self.ended:
            return event
        self._unsent += event
        self.held = event
        return b""

    def end(self) -> None:
        """No more comes: a last event may lack its end."""
        if not self.ended and self._unsent:
            self._note(bytes(self._unsent))
            self.held = bytes(self._unsent)

    def check(self) -> None:
        if self._failure:
            raise InvalidAnswerError(f"its stream says {self._failure}")

    def _note(self, event: bytes) -> None:
        name, data = _parsed(event)
        if data == b"[DONE]":
            self.ended = self.complete = True
            return
        try:
            said = _said.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = _Said()
        kind = said.type if isinstance(said.type, str) else ""
        if said.error is not None or kind in FAILURES or name in FAILURES:
            self.ended = True
            self._failure = data[: 4 * MAX_MESSAGE_CHARS].decode(errors="replace")[:MAX_MESSAGE_CHARS] or "error"
        elif kind in ENDS or name in ENDS:
            self.ended = self.complete = True
        elif _says_why(said):
            self.complete = True

    def _note_name(self, begin: bytes) -> None:
        name, _ = _parsed(begin)
        if name in FAILURES:
            self._failure = name
        self.complete = self.complete or name in ENDS


def _is_event(text: bytes) -> bool:
    """Whether it is one, and whole: a first look, which knows only one kind of line ends."""
    return text.endswith(b"\n\n") and text.find(b"\n\n") == len(text) - 2 and b"\r" not in text


def _end_of_event(text: bytearray, begin: int) -> int:
    """Behind the first blank line; 0 if there is none."""
    if text.find(b"\r", begin) < 0:  # a search for two bytes costs a tenth of one for a pattern
        end = text.find(b"\n\n", begin)
        return end + 2 if end >= 0 else 0
    match = _BLANK_LINE.search(text, begin)
    return match.end() if match is not None else 0


def _says_why(said: _Said) -> bool:
    """Whether it is told why the answer ends here."""
    for choice in said.choices or ():
        if choice.finish_reason:
            return True
    return isinstance(said.delta, _Delta) and bool(said.delta.stop_reason)


def _parsed(event: bytes) -> tuple[str, bytes]:
    """Its name, and its data; a bare line of JSON, which some servers tell an error with, is taken for that."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return "", event[6:-2]  # one line, as in most
    name, data = "", []
    for line in event.split(b"\n") if b"\r" not in event else _LINE_END.split(event):
        field, colon, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" ") if colon else b"")
        elif field == b"event":
            name = value.removeprefix(b" ").decode(errors="replace")
        elif line.startswith(b"{"):
            data.append(line)
    return name, b"\n".join(data)
