"""Histories of each backend."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from metrics_sidecar.history.retention import KEEP_ALL, Retention
from tests.metrics_sidecar.history.contract.backends import BACKENDS, IN_SMALL_PIECES, Factory
from tests.metrics_sidecar.history.contract.history import History

OpenHistory = Callable[..., History]
"""`(name="history", retention=KEEP_ALL)`: opens a new one, which is closed at the end of the test."""


@pytest.fixture(params=BACKENDS)
def factory(request: pytest.FixtureRequest) -> Iterator[Factory]:
    with IN_SMALL_PIECES.get(request.param, nullcontext)():
        yield BACKENDS[request.param]


@pytest.fixture
async def open_history(factory: Factory, tmp_path: Path) -> AsyncIterator[OpenHistory]:
    opened: list[History] = []

    def open_(name: str = "history", retention: Retention = KEEP_ALL) -> History:
        directory = tmp_path / name
        directory.mkdir()
        opened.append(History(factory, directory, retention))
        return opened[-1]

    yield open_
    for history in opened:
        history.close()
