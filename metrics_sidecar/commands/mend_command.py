"""`metrics-sidecar mend-times`: undoes what a wrong clock has done to a history."""

import sqlite3
from pathlib import Path

from metrics_sidecar.data_dir import locked
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.inspection import check_file
from metrics_sidecar.sqlite.mending import MendingStore
from shared.clock import Clock, format_timestamp
from shared.record import MAX_TIMESTAMP_US
from shared.settings import StartupError


def mend(data_dir: Path, clock: Clock) -> int:
    """Mend and tell; `StartupError` if a sidecar runs on it, or it can't be written."""
    path = data_dir / HISTORY_FILE
    check_file(path, writable=True)
    now_us = clock.now_us()
    with locked(data_dir):
        store = MendingStore(path)
        try:
            mended = store.mend(now_us)
        except (StoreError, sqlite3.Error) as error:
            raise StartupError(f"{path} can't be mended: {error}") from None
        finally:
            store.close()
    print(f"{path}: the clock says {format_timestamp(now_us)}, and is believed from now on")
    print(f"  {mended.moved_rows:,} rows were from later than tomorrow, and have this time now")
    before, after = (_moment(minute) for minute in (mended.shown_from_before, mended.shown_from))
    print(f"  rows are shown from {after} on" + (f"; before, it was from {before}" if before != after else ""))
    return 0


def _moment(minute: int) -> str:
    return format_timestamp(min(minute * MINUTE_US, MAX_TIMESTAMP_US)) if minute else "the first"
