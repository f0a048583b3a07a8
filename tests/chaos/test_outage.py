"""The sidecar away under load: the short form of `make soak`."""

from pathlib import Path

import pytest

from tests.chaos.outage import AWAY, BEFORE, run_outage


@pytest.mark.timeout(200)
async def test_all_records_arrive_after_an_outage(tmp_path: Path) -> None:
    """What callers got while the sidecar was away is all there once it is back."""
    outage = await run_outage(tmp_path, seconds=8.0, rate=50.0)
    assert outage.problems == []
    assert outage.rows == len(outage.calls)
    for phase in (BEFORE, AWAY):  # how many there are is told by the machine; that none is without an answer, is not
        outcomes = {call.outcome for call in outage.calls if call.round == phase}
        assert outcomes == {"answered"}
