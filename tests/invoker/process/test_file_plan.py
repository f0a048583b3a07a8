"""Connections are as many as there are files for, and what is too little is said."""

import pytest

from invoker.front.refusal import MAX_LINGERING, RESERVE
from invoker.process.file_plan import OWN_FILES, fit
from invoker.upstream.idle import MAX_IDLE
from shared.settings import StartupError

BESIDE = MAX_IDLE + 3 * RESERVE + MAX_LINGERING
INHERITED = 3


@pytest.mark.parametrize(
    ("limit", "max_in_flight", "expected"),
    [
        (20_000 + BESIDE + OWN_FILES + INHERITED, 10_000, 10_000),  # all fits, to the last file
        (15_000 + BESIDE + OWN_FILES + INHERITED, 5_000, 10_000),  # half of them only wait
        (12_000, 2_000, 7_159),
        (4_096, 4_096, 1_368),
        (64, 4_096, 5),
    ],
)
def test_each_connection_has_a_file_for_its_upstream(limit: int, max_in_flight: int, expected: int) -> None:
    """And those that are refused theirs; nothing is left over that could be missing elsewhere."""
    plan = fit(limit, INHERITED, 10_000, max_in_flight)
    assert plan.max_connections == expected
    used = plan.max_connections + min(plan.max_connections, max_in_flight) + 3 * plan.probes + plan.lingering
    used += plan.idle
    assert used + OWN_FILES + INHERITED <= limit
    assert (plan.reason is None) == (expected == 10_000)
    if plan.reason is not None:
        needed = 10_000 + max_in_flight + BESIDE + OWN_FILES + INHERITED
        assert plan.reason == (
            f"INVOKER_MAX_CONNECTIONS is 10000, but {limit} files are enough for {expected}; "
            f"it needs {needed} (ulimit -n, LimitNOFILE=)"
        )


def test_too_few_files_for_any_connection() -> None:
    """The gateway doesn't start."""
    with pytest.raises(StartupError, match="INVOKER_MAX_CONNECTIONS: 50 files may be open, too few for any"):
        fit(50, INHERITED, 10_000, 4_096)
