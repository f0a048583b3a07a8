"""`python -m metrics_sidecar.files.worker`: one export of a running sidecar's history, in a process beside it.

In the sidecar's own process it would share the interpreter's lock with the ledger and with all requests, and keep
what pyarrow takes. Here it has a core of its own where there is one, makes way for commits where there is none, and
is gone when its caller is. stdin is an `Order`, stdout the file; anything on stderr says why it is not whole.
"""

import contextlib
import os
import sys
from pathlib import Path

import msgspec

from metrics_sidecar.files.exporting import pieces
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.sqlite.export import opened
from metrics_sidecar.sqlite.state import DAMAGE

NICENESS = 10
BLOCK_BYTES = 512 * 1024
"""Written at once: each write wakes the sidecar, which may share a core with this."""


class Order(msgspec.Struct, frozen=True):
    """Which history, and what of it."""

    path: str
    export: Export


def main() -> int:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        with (
            opened(Path(order.path)) as connection,
            open(sys.stdout.fileno(), "wb", BLOCK_BYTES, closefd=False) as output,
        ):
            for piece in pieces(connection, order.export):
                output.write(piece.data)
    except BrokenPipeError:  # nobody wants the rest
        return 1
    except (StoreError, *DAMAGE) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
