"""How far a command is, on a terminal; nothing elsewhere."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[float, int], None]
"""Told how much is done by now, from 0 to 1, and how many rows these are."""


@contextlib.contextmanager
def shown(what: str) -> Iterator[Advance]:
    """A bar on stderr while this is done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1.0, rows=0)

        def advance(done: float, rows: int) -> None:
            progress.update(task, completed=done, rows=rows)

        yield advance
