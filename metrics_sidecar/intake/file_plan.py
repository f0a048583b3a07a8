"""How many producers the files of a sidecar are enough for, and what is said where they are too few."""

from functools import cache
from typing import NamedTuple

from shared import logs
from shared.files import count_open, raise_limit
from shared.settings import StartupError

OWN_FILES = 48
"""Of the sidecar, beside those that it inherits: its event loop, history, reader and exports."""
RESERVED_FILES = 20
"""Of those, what comes and goes: no connection gets them."""

log = logs.get("files")


class FilePlan(NamedTuple):
    """Connections of producers. `reason`: why they are fewer than wanted."""

    max_producers: int
    reason: str | None = None


@cache  # made before the sidecar itself opens anything
def plan_files(wanted: int) -> FilePlan:
    """Half of the files are for producers, the rest for whoever asks. `StartupError` where there is none for either."""
    limit, inherited = raise_limit(), count_open()
    left = limit - OWN_FILES - inherited
    if 2 * wanted <= left:
        return FilePlan(wanted)
    fitting = left // 2
    needed = f"it needs {2 * wanted + OWN_FILES + inherited} (ulimit -n, LimitNOFILE=)"
    if fitting < 1:
        raise StartupError(f"SIDECAR_MAX_PRODUCERS: {limit} files may be open, too few for any; {needed}")
    reason = f"SIDECAR_MAX_PRODUCERS is {wanted}, but {limit} files are enough for {fitting}; {needed}"
    log.warning("files.too_few", max_producers=fitting, reason=reason)
    return FilePlan(fitting, reason)
