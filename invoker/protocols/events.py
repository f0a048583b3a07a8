"""Streams of server-sent events that go through: whole events, until the one that says how the answer ended."""

import re

from invoker.protocols.base import InvalidAnswerError, Usage
from invoker.protocols.said import COMPLETE, ENDS, FAILURES, Said, has_output, read_said, says_why
from invoker.protocols.usage import MAX_REPORT_BYTES, NOTHING, Meaning, find_report, last_report

MAX_EVENT_BYTES = 1024 * 1024
"""A larger event goes on in parts, of which only its name and its last report of usage are read."""
MAX_MESSAGE_CHARS = 512

_TYPE = re.compile(rb'\{[ \t]*"type"[ \t]*:[ \t]*"([a-z_.]+)"')
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")


class EventReader:
    """Implements `StreamReader`. `meaning`: that of its reports of usage; `hides_usage`: its caller hasn't asked for
    the event that has nothing else, and doesn't get it."""

    of_events = True

    def __init__(self, meaning: Meaning, *, hides_usage: bool = False) -> None:
        self.size = 0
        self.held = b""
        self.ended = False
        self.complete = False
        self.first_output_us: int | None = None
        self.last_output_us: int | None = None
        self._meaning = meaning
        self._hides_usage = hides_usage
        self._reports = [b"", b""]  # that of a message's beginning, and the last one
        self._failure = ""
        self._unsent = bytearray()
        self._looked_at = 0  # of those
        self._large: str | None = None  # name of the event of which parts have gone on
        self._end_of_part = b""
        self._cut_end = False  # the last event was left out, and the second half of its line end may come

    def feed(self, chunk: bytes, now_us: int) -> bytes:
        unsent = self._unsent
        if self._cut_end and chunk:
            chunk, self._cut_end = chunk.removeprefix(b"\n"), False
        if not unsent and not self.ended and len(chunk) <= MAX_EVENT_BYTES and _is_event(lines := chunk.splitlines()):
            return self._feed_event(chunk, lines, now_us)
        unsent += chunk
        self.size += len(chunk)
        begin = 0
        while not self.ended and (end := _end_of_event(unsent, max(self._looked_at, begin))):
            event = bytes(unsent[begin:end])
            if len(event) > MAX_EVENT_BYTES:
                self._note_part(event[:256], b"")
            if self._note(event.splitlines(), now_us):
                event = event.lstrip(b"\r\n")  # which is of the line end before
                begin = end - len(event)
                del unsent[begin:end]
                self._leave_out(event)
                self._cut_end = self._cut_end and begin == len(unsent)
            elif not self.ended:
                begin = end
            self._looked_at = 0
        if not self.ended and len(unsent) - begin > MAX_EVENT_BYTES:
            self._note_part(bytes(unsent[begin : begin + 256]), bytes(unsent[-MAX_REPORT_BYTES:]))
            begin = len(unsent)
        whole = bytes(unsent[:begin])
        del unsent[:begin]
        self._looked_at = max(len(unsent) - 3, 0)
        self.held = bytes(unsent) if self.ended else b""
        return whole

    def _feed_event(self, event: bytes, lines: list[bytes], now_us: int) -> bytes:
        """As most come: alone and whole."""
        self.size += len(event)
        if self._note(lines, now_us):
            self._leave_out(event)
            return b""
        if not self.ended:
            return event
        self._unsent += event
        self.held = event
        return b""

    def _leave_out(self, event: bytes) -> None:
        self.size -= len(event)
        self._cut_end = event.endswith(b"\r")

    def end(self, now_us: int) -> None:
        """No more comes: a last event may lack its end."""
        if not self.ended and self._unsent:
            event = bytes(self._unsent)
            if self._note(event.splitlines(), now_us):
                event = event.lstrip(b"\r\n")
                self._leave_out(event)
                del self._unsent[-len(event) :]
            self.held = bytes(self._unsent)

    def check(self) -> None:
        if self._failure:
            raise InvalidAnswerError(f"its stream says {self._failure}")

    @property
    def usage(self) -> Usage | None:
        first, last = self._reports
        return self._meaning(last, first) if first or last else None

    def _note(self, lines: list[bytes], now_us: int) -> bool:
        """An event's; whether its caller doesn't get it."""
        if self._large is not None:
            return self._note_end(self._large, b"".join(lines))
        name, data = _parsed(lines)
        if data == b"[DONE]":
            self.ended = self.complete = True
            return False
        said = read_said(data)
        kind = said.type if isinstance(said.type, str) else ""
        if said.error is not None or kind in FAILURES or name in FAILURES:
            self.ended = True
            self._failure = data[: 4 * MAX_MESSAGE_CHARS].decode(errors="replace")[:MAX_MESSAGE_CHARS] or "error"
        elif kind in ENDS or name in ENDS:
            self.ended = self.complete = True
        elif says_why(said) or kind in COMPLETE:
            self.complete = True
        if has_output(said, kind or name):
            self.last_output_us = now_us
            if self.first_output_us is None:
                self.first_output_us = now_us
        if said.usage is not NOTHING or kind:
            return self._note_usage(said, kind)
        return False

    def _note_usage(self, said: Said, kind: str) -> bool:
        report = bytes(said.usage) or self._report_within(said, kind)
        if not report.startswith(b"{") or len(report) > MAX_REPORT_BYTES:
            return False
        self._reports[1] = report
        return self._hides_usage and not said.choices and not kind and not self.ended

    def _report_within(self, said: Said, kind: str) -> bytes:
        """Where a dialect has it in what begins or ends an answer."""
        if kind == "message_start":
            self._reports[0] = find_report(bytes(said.message))
        elif kind in ENDS or kind in FAILURES:
            return find_report(bytes(said.response))
        return b""

    def _note_part(self, begin: bytes, end: bytes) -> None:
        """Of an event that is too large to be read."""
        self._end_of_part = (self._end_of_part + end)[-MAX_REPORT_BYTES:]
        if self._large is not None:
            return
        name, data = _parsed(begin.splitlines())
        kind = _TYPE.match(data)
        self._large = name = name or (kind[1].decode() if kind is not None else "")
        if name in FAILURES:
            self._failure = name
        self.complete = self.complete or name in ENDS or name in COMPLETE

    def _note_end(self, name: str, end: bytes) -> bool:
        """The rest of it is here."""
        if name in ENDS or name in COMPLETE or name in FAILURES:
            self._reports[1] = last_report((self._end_of_part + end)[-MAX_REPORT_BYTES:]) or self._reports[1]
            self.ended = name not in COMPLETE
        self._large, self._end_of_part = None, b""
        return False


def _is_event(lines: list[bytes]) -> bool:
    """Whether these are one, and whole: the last is blank, and no other."""
    return len(lines) > 1 and not lines[-1] and all(lines[:-1])


def _end_of_event(text: bytearray, begin: int) -> int:
    """Behind the first blank line; 0 if there is none."""
    if text.find(b"\r", begin) < 0:  # a search for two bytes costs a tenth of one for a pattern
        end = text.find(b"\n\n", begin)
        return end + 2 if end >= 0 else 0
    match = _BLANK_LINE.search(text, begin)
    return match.end() if match is not None else 0


def _parsed(lines: list[bytes]) -> tuple[str, bytes]:
    """An event's name, and its data; a bare line of JSON, which some servers tell an error with, is taken for that."""
    if len(lines) == 2 and not lines[1] and lines[0].startswith(b"data: "):
        return "", lines[0][6:]  # as most are
    name, data = "", []
    for line in lines:
        field, colon, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" ") if colon else b"")
        elif field == b"event":
            name = value.removeprefix(b" ").decode(errors="replace")
        elif line.startswith(b"{"):
            data.append(line)
    return name, b"\n".join(data)
