"""What is wrong in a models file, and what has no effect there: all of it, each with its place."""

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from invoker.models_file.toml_lines import Keys, lines_of

MAX_SHOWN_CHARS = 80

_BARE = re.compile("[A-Za-z0-9_-]+")


class Finding(NamedTuple):
    """`line`: 0 for the file as a whole."""

    line: int
    text: str
    is_error: bool = True

    def after(self, file: str, kind: str = "") -> str:
        """With its place before it."""
        return f"{file}:{f'{self.line}:' if self.line else ''} {kind}{self.text}"


class Findings:
    """Of one file. They are noted with the keys of their values; lines are looked up when they are listed."""

    def __init__(self) -> None:
        self.wrong: set[Keys] = set()
        """Values with errors, or with errors within."""
        self._noted: list[tuple[Keys, Finding]] = []

    def note(self, keys: Keys, text: str, *, is_error: bool) -> None:
        self._noted.append((keys, Finding(0, f"{_shown_keys(keys)}: {text}", is_error)))
        if is_error:
            self.wrong.update(keys[:length] for length in range(len(keys) + 1))

    def listed(self, text: str) -> list[Finding]:
        """In the order of the file's text."""
        lines = lines_of(text) if self._noted else {}
        found = (finding._replace(line=_line(lines, keys)) for keys, finding in self._noted)
        return sorted(found, key=lambda finding: finding.line)


class Place:
    """A value in the file, or where one is missing: what is wrong there is said to it."""

    __slots__ = ("_findings", "keys")

    def __init__(self, findings: Findings, keys: Keys) -> None:
        self._findings = findings
        self.keys = keys

    @property
    def has_errors(self) -> bool:
        """Or something within it."""
        return self.keys in self._findings.wrong

    def at(self, *keys: str | int) -> "Place":
        """A value within it."""
        return Place(self._findings, (*self.keys, *keys))

    def error(self, text: str) -> None:
        """`text` says what is wrong, and what is allowed; no secret."""
        self._findings.note(self.keys, text, is_error=True)

    def warn(self, text: str) -> None:
        """Of what is allowed, but has no effect, or one that can't be meant."""
        self._findings.note(self.keys, text, is_error=False)


def in_words(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _line(lines: dict[Keys, int], keys: Keys) -> int:
    """Of a value that isn't there, its table's."""
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines.get(keys, 0)


def _shown_keys(keys: Keys) -> str:
    """`["gpt-4o"] upstreams[1].weight`."""
    table, *fields = keys
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{_shown_key(key)}" for key in fields)
    return f"[{_shown_key(table)}] {path.removeprefix('.')}".rstrip()


def _shown_key(key: str | int) -> str:
    """As TOML has it."""
    text = str(key)
    if _BARE.fullmatch(text):
        return _cut(text)
    return f'"{_cut(json.dumps(text, ensure_ascii=not text.isprintable())[1:-1])}"'


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
