"""`invoker ship`: sends on what dead workers left, where no gateway runs any more that would do it."""

import asyncio
import os
from pathlib import Path

from invoker.delivery.assignment import Shipped, ship_dead
from invoker.delivery.recovery import PRODUCER_ID_CHARS
from invoker.journal.directory import Bound, lock_directory
from invoker.settings import ShipSettings
from shared.clock import Clock
from shared.serving import stop_signal
from shared.settings import StartupError

WATCH_INTERVAL_S = 0.1


def ship(settings: ShipSettings, clock: Clock) -> int:
    """Ship, print one line, and the exit code: 0 if no dead worker's journal is left, 1 if one is.
    The journals of living workers stay with them, and count as none."""
    root = settings.journal_dir
    if not root.is_dir():
        raise StartupError(f"INVOKER_JOURNAL_DIR: {str(root)!r} is no directory")
    shipped = Shipped()
    asyncio.run(_ship(settings, clock, shipped))
    left = _count_dead(root)
    print(f"shipped {shipped.records:,} records of {shipped.journals:,} dead workers; left those of {left:,}")
    return 1 if left else 0


async def _ship(settings: ShipSettings, clock: Clock, shipped: Shipped) -> None:
    """Until all is shipped, a signal comes, or nothing has arrived for too long."""
    stop = stop_signal()
    bound = Bound(settings.journal_dir, settings.journal_max_bytes, workers=1)
    task = asyncio.create_task(ship_dead(bound, settings.sidecar_socket, clock, shipped))
    last, deadline_us = shipped.progress, 0
    while not task.done() and not stop.is_set():
        if shipped.progress != last or not deadline_us:
            last, deadline_us = shipped.progress, clock.monotonic_us() + round(settings.timeout_s * 1_000_000)
        if clock.monotonic_us() > deadline_us:
            break
        await asyncio.wait([task], timeout=WATCH_INTERVAL_S)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _count_dead(root: Path) -> int:
    """Journals that nobody holds, or that aren't for us."""
    return sum(_is_dead(directory) for directory in root.iterdir() if len(directory.name) == PRODUCER_ID_CHARS)


def _is_dead(directory: Path) -> bool:
    try:
        lock = lock_directory(directory)
    except OSError:
        return True
    if lock is not None:
        os.close(lock)
    return lock is not None
