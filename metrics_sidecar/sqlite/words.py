"""Texts of few different values, such as upstreams' names, each of which is stored once: rows have its number."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Protocol

MAX_WORDS = 10_000
"""Beyond these a row has the text itself, in whatever column it is."""


class Numbering(Protocol):
    """Who knows the numbers of words."""

    def number(self, texts: Iterable[str]) -> Mapping[str, int]:
        """Those of these that have one, now."""
        ...


class Words:
    """Gives numbers within transactions: `forget` them when one is rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] | None = None

    def number(self, texts: Iterable[str]) -> Mapping[str, int]:
        """Those of these that have one, now."""
        if self._numbers is None:
            self._numbers = dict(self._connection.execute("SELECT word, number FROM words"))
        numbers = self._numbers
        for text in texts:
            if text not in numbers and len(numbers) < MAX_WORDS:
                query = "INSERT INTO words (word) VALUES (?) RETURNING number"
                numbers[text] = self._connection.execute(query, (text,)).fetchone()[0]
        return numbers

    def forget(self) -> None:
        self._numbers = None
