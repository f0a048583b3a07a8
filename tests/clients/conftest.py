"""One running stack for all of these tests: each uses models of its own."""

from collections.abc import Iterator

import pytest

from tests.clients.stack import Stack
from tests.clients.stack import stack as started


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("clients")) as running:
        yield running
