"""How far a command is, on a terminal; nothing elsewhere."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LOOK_EVERY_S = 0.1

Advance = Callable[[float | None, str], None]
"""Told how much is done by now, from 0 to 1, None where that isn't known, and of what."""


@contextlib.contextmanager
def shown(what: str) -> Iterator[Advance]:
    """A bar on stderr while this is done; it moves without a measure until there is one."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),  # a file's name
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None, told="")

        def advance(done: float | None, told: str) -> None:
            progress.update(task, total=None if done is None else 1.0, completed=done or 0, told=told)

        yield advance


@contextlib.contextmanager
def watched(what: str, look: Callable[[], tuple[float | None, str]]) -> Iterator[None]:
    """The same for what can't tell how far it is: that is looked at meanwhile, on a thread of its own."""
    with shown(what) as advance:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_EVERY_S):
                advance(*look())

        thread = threading.Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            advance(*look())
