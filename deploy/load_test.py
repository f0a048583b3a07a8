"""Load on the gateway at a fixed rate, and the proof that the sidecar counted what the callers saw.

Written here and not with locust, because locust's users wait for an answer before they send again
(a closed loop): a slow server would slow its own load, and the waiting would be missing in the latencies.
"""

import asyncio
import contextlib
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import click
import uvloop

from deploy.load_generator import Generator, Plan, open_session
from deploy.load_recorded import settled, settled_differences
from deploy.load_report import print_result, progress, result
from shared.record import check_model_id
from shared.settings import Choice, HttpUrl, Number, StartupError, options, run_command, setting

PROBE_TIMEOUT_S = 5.0


class ModelMix(click.ParamType[dict[str, int]]):
    """`gpt-3.5=3,bert-base=1`: models and how often each is called in proportion."""

    name = "mix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        mix: dict[str, int] = {}
        for part in str(value).split(","):
            model_id, _, weight = part.strip().rpartition("=")
            if check_model_id(model_id) is not None or not weight.isdecimal() or not 0 < int(weight) < 10**6:
                self.fail(f"{value!r} is not MODEL=WEIGHT,… with whole weights from 1 to 999,999.", param, ctx)
            mix[model_id] = mix.get(model_id, 0) + int(weight)
        return mix


@dataclass(frozen=True)
class LoadSettings:
    """What to send where; `--stream`, `--json` and `--no-check` are flags beside these."""

    url: str = setting("LOAD_URL", "http://127.0.0.1:8000", HttpUrl(), "The gateway.")
    rate: float = setting("LOAD_RATE", 500.0, Number(0.1, 100_000.0), "Requests per second.")
    duration_s: float = setting("LOAD_DURATION", 30.0, Number(0.1, 86_400.0), "Seconds of sending.", flag="duration")
    models: dict[str, int] = setting("LOAD_MODELS", "gpt-3.5=3,bert-base=1", ModelMix(), "Models by weight.")
    arrivals: Any = setting(
        "LOAD_ARRIVALS", "poisson", Choice("poisson", "uniform"), "How requests are spread in time."
    )
    input_size: int = setting("LOAD_INPUT_SIZE", 5, Number(0, 1_000_000), "Numbers in each input, or words.")
    seed: int = setting("LOAD_SEED", 1, Number(0, 2**53), "Makes arrivals and models repeatable.")
    max_in_flight: int = setting(
        "LOAD_MAX_IN_FLIGHT", 2000, Number(1, 60_000), "Requests waiting at one time; more are not sent."
    )
    timeout_s: float = setting(
        "LOAD_TIMEOUT", 60.0, Number(0.1, 86_400.0), "Seconds to wait for one answer.", flag="timeout"
    )
    protocol: Any = setting(
        "LOAD_PROTOCOL",
        "worklet",
        Choice("worklet", "openai", "anthropic", "kserve"),
        "worklet, openai, anthropic or kserve.",
    )


FLAGS = [
    click.Option(["--stream"], is_flag=True, help="Ask for streams, of openai and anthropic."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the result as one line of JSON."),
    click.Option(["--check/--no-check"], default=True, help="Compare with the sidecar's statistics."),
]


async def load(plan: Plan, *, check: bool, as_json: bool) -> int:
    """Run the plan and print its result; 0 unless callers and sidecar disagree, then 1."""
    async with open_session(plan) as session:
        await _reach(session, plan.url)
        before = await settled(session, plan) if check else None
        generator = Generator(plan, session)
        with _stopped_by_signals(generator):
            async with progress(generator):
                await generator.run()
        found = await settled_differences(generator, session, before) if before is not None else None
    print_result(result(generator, found), as_json=as_json)
    return 1 if found else 0


@contextlib.contextmanager
def _stopped_by_signals(generator: Generator) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, generator.stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _reach(session: aiohttp.ClientSession, url: str) -> None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S), session.get(f"{url}/healthz") as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise StartupError(f"the gateway at {url} (LOAD_URL, --url) can't be reached: {reason}") from None


def _raise_file_limit() -> None:
    """Each request in flight is a file descriptor, and the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _callback(as_json: bool, check: bool, **values: Any) -> int:
    if values["stream"] and values["protocol"] in ("worklet", "kserve"):
        message = f"--stream: {values['protocol']!r} has no streams; allowed with --protocol openai or anthropic"
        raise StartupError(message)
    values["url"] = values["url"].rstrip("/")
    _raise_file_limit()
    return uvloop.run(load(Plan(**values), check=check, as_json=as_json))


cli = click.Command(
    "load-test",
    help="Call the gateway at a fixed rate and check what the sidecar counted.",
    params=[*options(LoadSettings), *FLAGS],
    callback=_callback,
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
