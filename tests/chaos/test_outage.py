"""The sidecar away under load: the short form of `make soak`."""

from pathlib import Path

import pytest

from tests.chaos.outage import AWAY, BEFORE, run_outage


@pytest.mark.timeout(200)
async def test_all_records_arrive_after_an_outage(tmp_path: Path) -> None:
    """What callers got while the sidecar was away is all there once it is back."""
    outage = await run_outage(tmp_path, seconds=8.0, rate=200.0)
    assert outage.problems == []
    assert outage.rows == len(outage.calls)
    assert len(outage.latencies_ms(BEFORE)) == pytest.approx(1600, rel=0.2)
    assert len(outage.latencies_ms(AWAY)) == pytest.approx(1600, rel=0.2)
