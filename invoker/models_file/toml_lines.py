"""In which line of a TOML file each key stands: no parser that Python or its packages have tells that."""

import re
import tomllib
from bisect import bisect_right

Keys = tuple[str | int, ...]
"""The way to a value: names in tables, and numbers, from 0 on, in arrays."""

_KEY = re.compile(r"""[ \t]*("(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?!")|\'\'\'.*?\'\'\'(?!\')|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^,\]}\r\n#]+''', re.DOTALL
)


def lines_of(text: str) -> dict[Keys, int]:
    """Of all keys, tables and elements of arrays, the line that they begin in, from 1 on. The text must be what
    `tomllib` takes. A table that is only named as a part of others begins with the first of them."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    """Of what is known to be TOML: it looks for no errors."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Keys, int] = {}
        self._text = text
        self._at = 0
        self._last_of: dict[Keys, int] = {}  # arrays of tables
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        table: Keys = ()
        while not self._is_next(""):
            if self._take("[["):
                table = self._header(self._key(), in_array=True)
                self._at += len("]]")
            elif self._take("["):
                table = self._header(self._key(), in_array=False)
                self._at += len("]")
            else:
                self._pair(table)

    def _is_next(self, expected: str) -> bool:
        """Behind white space, line ends and comments; an empty one is the end."""
        self._at = _BETWEEN.match(self._text, self._at).end()  # type: ignore[union-attr]  # it always matches
        return self._text.startswith(expected, self._at) if expected else self._at == len(self._text)

    def _take(self, expected: str) -> bool:
        found = self._is_next(expected)
        self._at += len(expected) if found else 0
        return found

    def _line(self) -> int:
        return bisect_right(self._ends, self._at - 1) + 1

    def _key(self) -> list[str]:
        """A dotted one is several."""
        parts: list[str] = []
        while not parts or self._text[self._at] == ".":
            match = _KEY.match(self._text, self._at + bool(parts))
            assert match is not None
            parts.append(_unquoted(match[1]))
            self._at = match.end()
        return parts

    def _header(self, parts: list[str], *, in_array: bool) -> Keys:
        line, table = self._line(), Keys()
        for number, part in enumerate(parts, 1):
            table = (*table, part)
            self.lines.setdefault(table, line)
            if in_array and number == len(parts):
                self._last_of[table] = self._last_of.get(table, -1) + 1
            if table in self._last_of:
                table = (*table, self._last_of[table])
        self.lines[table] = line
        return table

    def _pair(self, table: Keys) -> None:
        line = self._line()
        for part in self._key():
            table = (*table, part)
            self.lines.setdefault(table, line)
        self._at += len("=")
        self._value(table)

    def _value(self, keys: Keys) -> None:
        if self._take("{"):
            while not self._take("}"):
                self._pair(keys)
                self._take(",")
        elif self._take("["):
            number = 0
            while not self._take("]"):
                self.lines[(*keys, number)] = self._line()
                self._value((*keys, number))
                self._take(",")
                number += 1
        else:
            self._at = _SCALAR.match(self._text, self._at).end()  # type: ignore[union-attr]  # as it is TOML


def _unquoted(key: str) -> str:
    if "\\" in key and key[0] == '"':
        return str(tomllib.loads(f"key = {key}")["key"])
    return key[1:-1] if key[0] in "\"'" else key
