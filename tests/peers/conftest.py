"""The stack with servers that nobody here wrote: LiteLLM's proxy as an upstream of the gateway, and as one of its
callers; MLServer as an upstream."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from openai import OpenAI

from tests.clients.stack import Stack, stack
from tests.deploy.processes import free_port
from tests.peers import litellm, mlserver


class Peers(NamedTuple):
    """`url`: of the proxy itself."""

    stack: Stack
    url: str

    def openai(self) -> OpenAI:
        """A client of it, without a gateway in between."""
        return self.stack.openai(base_url=f"{self.url}/v1", api_key=litellm.KEY)


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    if not litellm.COMMAND.exists():
        pytest.fail("LiteLLM isn't installed: run `make peers`")
    directory, port = tmp_path_factory.mktemp("peers"), free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        stack(directory, litellm.models_file(url)) as running,
        litellm.proxy(directory, port, running.gateway_url),
    ):
        yield Peers(running, url)


class Tensors(NamedTuple):
    """`url`: of MLServer itself."""

    stack: Stack
    url: str


@pytest.fixture(scope="session")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tensors]:
    if not mlserver.IS_FOR_THIS_PYTHON:
        pytest.skip("MLServer isn't made for Python 3.13 and above")
    if not mlserver.COMMAND.exists():
        pytest.fail("MLServer isn't installed: run `make peers`")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        stack(tmp_path_factory.mktemp("tensors"), mlserver.models_file(url)) as running,
        mlserver.server(tmp_path_factory.mktemp("mlserver"), port, free_port()),
    ):
        yield Tensors(running, url)
