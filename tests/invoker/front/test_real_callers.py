"""The clients that people call models with, against the gateway's own HTTP front."""

import asyncio
import sys
from collections.abc import Sequence

import aiohttp
import httpx
import pytest

from tests.invoker.conftest import Gateway
from tests.invoker.front.callers import answered, body_of, echo
from tests.tools import require_tools

SIZES = [0, 1, 1000, 9_000]
REQUESTS = """
import requests, sys
with requests.Session() as session:
    for size in %r:
        answer = session.post(sys.argv[1], json={"worklet_input": {"model_id": "m", "input": "x" * size}})
        print(answer.status_code, len(answer.json()["worklet_output"]))
"""
NODE = """
(async () => { for (const size of %r) {
  const body = JSON.stringify({worklet_input: {model_id: "m", input: "x".repeat(size)}});
  const headers = {"Content-Type": "application/json"};
  const answer = await fetch(process.argv[1], {method: "POST", headers, body});
  console.log(answer.status, (await answer.json()).worklet_output.length);
} })();
"""
EXPECTED = "".join(f"200 {size}\n" for size in SIZES)


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return output.decode()


@pytest.mark.parametrize(
    ("tool", "command"),
    [
        ("node", ["node", "-e", NODE % SIZES]),
        (sys.executable, [sys.executable, "-c", REQUESTS % SIZES]),
    ],
    ids=["node", "requests"],
)
async def test_clients_of_other_processes(gateway: Gateway, tool: str, command: Sequence[str]) -> None:
    """Each call has its own answer."""
    require_tools(tool)
    gateway.script = echo
    assert await output_of(*command, f"{gateway.url}/invoke") == EXPECTED


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--http1.0"],
        ["-H", "Connection: close"],
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Expect: 100-continue"],
        ["--http2"],
    ],
)
async def test_curl(gateway: Gateway, options: list[str]) -> None:
    """Two calls on what is one connection if it may be."""
    require_tools("curl")
    gateway.script = echo
    call = [
        *options,
        "-sS",
        "-H",
        "Content-Type: application/json",
        "-d",
        body_of(7).decode(),
        f"{gateway.url}/invoke",
    ]
    answers = await output_of("curl", *call, "--next", *call)
    assert answers.encode() == 2 * answered(7)[1]


async def test_httpx_and_aiohttp(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """Many at once, on connections that are used again."""
    gateway.script = echo

    headers = {"Content-Type": "application/json"}

    async def by_aiohttp(value: int) -> int:
        async with session.post(f"{gateway.url}/invoke", data=body_of(value), headers=headers) as answer:
            return int((await answer.json())["worklet_output"])

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=5)) as client:

        async def by_httpx(value: int) -> int:
            answer = await client.post(f"{gateway.url}/invoke", content=body_of(value))
            return int(answer.json()["worklet_output"])

        for call in (by_httpx, by_aiohttp):
            assert await asyncio.gather(*map(call, range(50))) == list(range(50))
