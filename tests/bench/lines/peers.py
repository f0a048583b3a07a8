"""LiteLLM's proxy beside the gateway: chats, and streams. Only when asked for: it needs an environment of its own."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from functools import partial

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import BenchError, Ground, Server, free_port, interleaved, middle
from tests.bench.lines.chat import CHAT, CHAT_BODY
from tests.bench.lines.streams import TOKENS_PER_SECOND, run
from tests.bench.load import Load, run_of
from tests.bench.machine import MEASURED_CORES, pinned
from tests.bench.yardsticks import nginx
from tests.peers.litellm import COMMAND

NAME = "LiteLLM's proxy"
STREAMS = 10
START_TIMEOUT_S = 90.0


def measure(on: Ground) -> Outcome:
    chats = on.nginx("upstream", nginx.CHAT_UPSTREAM, measured=False).url
    ticking = on.python("ticking", "tests.bench.yardsticks.ticking", str(TOKENS_PER_SECOND), measured=False).url
    gateways = {url: on.gateway(url, INVOKER_OPENAI_URL=f"{url}/v1") for url in (chats, ticking)}
    proxies = {url: proxy(on, url) for url in (chats, ticking)}
    load = Load(on.effort.seconds(3.0), body=CHAT_BODY, path=CHAT)
    for server in (proxies[chats], gateways[chats]):
        run_of(server, Load(1.0, body=CHAT_BODY, path=CHAT), on.directory)()
    for server in (proxies[ticking], gateways[ticking]):
        run(on, server, STREAMS, 1.0)
    theirs, ours = interleaved(
        on.effort.rounds,
        {server.name: run_of(server, load, on.directory) for server in (proxies[chats], gateways[chats])},
    ).values()
    their_tokens, our_tokens = interleaved(
        on.effort.rounds,
        {
            server.name: partial(run, on, server, STREAMS, on.effort.seconds(3.0))
            for server in (proxies[ticking], gateways[ticking])
        },
    ).values()
    return Outcome(
        [
            figure(
                f"{CHAT}",
                "req/CPU-s",
                middle(ours, lambda one: one.per_cpu_s),
                yardstick=(NAME, middle(theirs, lambda one: one.per_cpu_s)),
                budget=Budget("ratio", at_least=50.0),
                extra={f"{NAME}, req/s": middle(theirs, lambda one: one.answers.rate)},
            ),
            figure(
                f"{STREAMS} streams of {TOKENS_PER_SECOND:g} tokens/s: CPU per token",
                "µs",
                middle(our_tokens, lambda one: one.cpu_us),
                yardstick=(NAME, middle(their_tokens, lambda one: one.cpu_us)),
                extra={
                    "p99 ms": middle(our_tokens, lambda one: one.found.p99_ms),
                    f"{NAME}, p99 ms": middle(their_tokens, lambda one: one.found.p99_ms),
                },
            ),
        ]
    )


def proxy(on: Ground, upstream: str) -> Server:
    """One process, without keys and without a log, with the upstream behind its one model."""
    if not COMMAND.exists():
        raise BenchError("LiteLLM isn't installed: `make bench ARGS=peers` does that")
    directory, port = on.new_directory(), free_port()
    params = {"model": "openai/bench", "api_key": "none", "api_base": f"{upstream}/v1"}
    config = directory / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": "bench", "litellm_params": params}]}))
    environment = {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "HOME": str(directory),
    }
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with pinned(MEASURED_CORES), (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, *arguments], cwd=directory, env={**os.environ, **environment}, stdout=log, stderr=log
        )
    on.ends_with(process.wait)
    on.ends_with(process.kill)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _lives(port):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchError(f"{NAME} does not start: {(directory / 'log').read_text()[-2000:]}")
        time.sleep(0.1)
    return Server(NAME, f"http://127.0.0.1:{port}", process.pid)


def _lives(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False
