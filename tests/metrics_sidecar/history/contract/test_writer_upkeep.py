"""What is done between commits to keep a store quick: nobody sees it, and it comes to an end."""

import pytest

from tests.metrics_sidecar.history.contract.arrivals import END_US, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.model import as_record


@pytest.mark.parametrize("seed", range(2))
async def test_tending_changes_nothing_that_is_shown(open_history: OpenHistory, seed: int) -> None:
    """After any slice, busy or not, between any commits, and where a restart comes in the middle."""
    history, arrivals = open_history(), Arrivals(seed)
    random = arrivals.random
    for _ in range(22):
        history.add(arrivals.records(random.randrange(1, 60), minutes=150))
        for _ in range(random.randrange(8)):
            history.writer.tend(arrivals.now_us, busy=random.random() < 0.3)
        if random.random() < 0.2:
            history.reopen()
        assert history.model.state() == history.writer.load()
        for question in (arrivals.page(), arrivals.sums(), arrivals.window(), arrivals.series()):
            await history.check(question)
    history.tend(END_US)
    assert history.model.records == [*map(as_record, await history.rows())]


def test_tending_comes_to_an_end(open_history: OpenHistory) -> None:
    """And then stays there, until there is more to do; rows that wait become few."""
    history, arrivals = open_history(), Arrivals(3)
    committed = 0
    for _ in range(5):
        committed += 400
        history.add(arrivals.records(400, minutes=500))
        before = history.writer.upkeep.waiting_rows
        assert 0 <= before <= committed
        while history.writer.tend(END_US, busy=False):
            assert 0 <= history.writer.upkeep.waiting_rows <= before
            before = history.writer.upkeep.waiting_rows
        assert history.writer.upkeep.waiting_rows < 100
        assert not history.writer.tend(END_US, busy=False)
        assert not history.writer.tend(END_US, busy=True)
        history.reopen()
        assert history.writer.upkeep.waiting_rows < 100
        assert history.writer.upkeep.removed_rows == 0
