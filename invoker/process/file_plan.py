"""How many connections the files of a worker are enough for, and what is said where they are too few."""

from functools import cache
from typing import NamedTuple

from invoker.front.refusal import MAX_LINGERING, RESERVE
from invoker.upstream.idle import MAX_IDLE
from shared import logs
from shared.files import count_open, raise_limit
from shared.settings import StartupError

OWN_FILES = 44
"""Of a worker, beside those that it inherits: its event loop, its journal and one that it adopts, its socket to the
sidecar; half of them in reserve for what comes and goes."""
LEAST_CONNECTIONS = 4

log = logs.get("files")


class FilePlan(NamedTuple):
    """Callers' connections, refused ones that may be open beside them, and idle ones to upstreams. `reason`: why they
    are fewer than wanted."""

    max_connections: int
    probes: int
    lingering: int
    idle: int = MAX_IDLE
    reason: str | None = None


@cache  # of the parent: its workers are to say the same
def plan_files(max_connections: int, max_in_flight: int) -> FilePlan:
    """For the process as it starts. `StartupError` where a gateway would make no sense."""
    return fit(raise_limit(), count_open(), max_connections, max_in_flight)


def fit(limit: int, inherited: int, wanted: int, max_in_flight: int) -> FilePlan:
    """So many files may be open, some are. Each caller's connection may need one to an upstream beside it."""
    left = limit - OWN_FILES - inherited
    needed = wanted + min(wanted, max_in_flight) + MAX_IDLE + 3 * RESERVE + MAX_LINGERING
    if needed <= left:
        return FilePlan(wanted, RESERVE, MAX_LINGERING)
    probes = min(RESERVE, max(left // 16, 1))
    lingering, idle = min(MAX_LINGERING, left // 8), min(MAX_IDLE, left // 8)
    pairs = left - 3 * probes - lingering - idle
    # Beyond the calls in flight there are connections that wait, and need no second one.
    connections = min(wanted, max(pairs // 2, pairs - max_in_flight))
    missing = limit - left + needed
    if connections < LEAST_CONNECTIONS:
        raise StartupError(f"INVOKER_MAX_CONNECTIONS: {limit} files may be open, too few for any; {_advice(missing)}")
    if connections == wanted:
        return FilePlan(wanted, probes, lingering, idle)
    reason = f"INVOKER_MAX_CONNECTIONS is {wanted}, but {limit} files are enough for {connections}; {_advice(missing)}"
    return FilePlan(connections, probes, lingering, idle, reason)


def tell_plan(plan: FilePlan) -> None:
    """Once, at the start of the gateway."""
    if plan.reason is not None:
        log.warning("files.too_few", max_connections=plan.max_connections, reason=plan.reason)


def _advice(needed: int) -> str:
    return f"it needs {needed} (ulimit -n, LimitNOFILE=)"
