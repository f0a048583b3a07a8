"""The gateway with a recorder that does nothing, to see what recording costs. Only the bench starts it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from invoker import __main__ as command
from invoker.process import assembly


class NullJournal:
    """As much of a journal as its users look at, and empty."""

    directory = Path()
    producer_id = "0" * 32
    next_sequence = first_sequence = 1
    records_waiting = bytes_used = 0
    full = None
    dropped: ClassVar[dict[str, int]] = {}

    @classmethod
    def create(cls, *_arguments: Any, **_options: Any) -> "NullJournal":
        return cls()

    def begin(self, _begun: object) -> int:
        return 0

    def append(self, _record: object, _call: int = 0) -> None:
        pass


@contextlib.asynccontextmanager
async def nothing(*_arguments: object) -> AsyncIterator[None]:
    yield


def main() -> None:
    """Put nothing in the places of the journal and of all that reads it, in the module that wires them."""
    replacements: dict[str, object] = {
        "Journal": NullJournal,
        "Outbox": lambda *_arguments, **_options: SimpleNamespace(connected=True),
        "shipping": nothing,
        "adopting": nothing,
    }
    for name, replacement in replacements.items():
        if not hasattr(assembly, name):
            raise SystemExit(
                f"invoker.process.assembly has no {name} any more: tests/bench/null_gateway.py must follow"
            )
        setattr(assembly, name, replacement)
    command.main()


if __name__ == "__main__":
    main()
