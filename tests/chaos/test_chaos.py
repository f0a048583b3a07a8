"""The promises under faults: the short form of `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.faults import CLOCK_KINDS, DISK_KINDS, KINDS, draw, possible_kinds
from tests.chaos.harness import Options, run_rounds

SHORT = Options(seed=5, faults=len(KINDS), rate=150.0, workers=2, seconds=60.0)


@pytest.mark.timeout(400)
async def test_nothing_is_lost_doubled_or_in_disagreement(tmp_path: Path) -> None:
    """Processes are killed, frozen and restarted and disks are full, for about a minute under load."""
    done = await run_rounds(SHORT, tmp_path, print)
    assert [state.problems for state in done] == [[]] * len(done)
    assert done[-1].rows > 1000


def test_a_seed_is_a_sequence() -> None:
    """A run can be repeated, and all kinds of faults come up equally often."""
    every = possible_kinds(disks=True, clocks=True)
    faults = draw(7, 100, 2, every)
    assert faults == draw(7, 100, 2, every) != draw(8, 100, 2, every)
    counts = {kind: sum(fault.kind == kind for fault in faults) for kind in KINDS}
    assert set(counts.values()) == {100 // len(KINDS), 100 // len(KINDS) + 1}
    assert not (DISK_KINDS | CLOCK_KINDS) & {*possible_kinds(disks=False, clocks=False)}
