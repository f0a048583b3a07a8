"""Ledgers that are opened again and again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.metrics_sidecar.ledgers import Books, Open


@pytest.fixture
async def open_books(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the same file again and again; all are closed at the end."""
    opened: list[Books] = []

    def open_(max_models: int = 2000) -> Books:
        opened.append(Books(tmp_path / "history.db", max_models))
        return opened[-1]

    yield open_
    for books in opened:
        await books.close()
