"""`make chaos`: faults under load, and after each round what callers saw against what was recorded.

Exits 0 only if nothing was lost, doubled or in disagreement, no counter went down and nothing is missing.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import uvloop

from tests.chaos.harness import JOURNAL_BYTES, Options, run_rounds
from tests.chaos.report import HEADER, LEGEND, line


async def run(options: Options, directory: Path) -> bool:
    """Whether all went well; prints as it goes."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started_s = time.monotonic()
    done = await run_rounds(options, directory, say)
    say(f"\nseed {options.seed}, {time.monotonic() - started_s:.0f} s\n{LEGEND}\n{HEADER}")
    say("\n".join(map(line, done)))
    return not any(state.problems for state in done)


def say(text: str) -> None:
    print(text, flush=True)


def tell_of(error: BaseException) -> str:
    """An error's own words, those of a group one by one."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(tell_of, error.exceptions))
    return f"{type(error).__name__}: {error}"


@click.command()
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--faults", type=click.IntRange(1), default=100, show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Calls per second.")
@click.option("--workers", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=3600.0, show_default=True, help="No round begins later.")
@click.option(
    "--journal-bytes",
    type=int,
    default=JOURNAL_BYTES,
    show_default=True,
    help="1048576, 4 workers: 64 KiB segments.",
)
@click.option("--kind", default="", help="Only faults whose name has this in it, such as clock.")
def main(seed: int, faults: int, rate: float, workers: int, seconds: float, journal_bytes: int, kind: str) -> None:
    """Break things under load, and see whether anything is lost."""
    options = Options(seed, faults, rate, workers, seconds, journal_bytes, kind)
    directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    try:
        well = uvloop.run(run(options, directory))
    except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:  # noqa: BLE001 - the seed must be told
        well = False
        say(f"the run ended early: {tell_of(error)}")
    if well:
        shutil.rmtree(directory)
        say("nothing lost, nothing doubled, all views agree")
        return
    say(f"FAILED with --seed {seed} --faults {faults} --rate {rate:g} --workers {workers}; its faults are above")
    say(f"logs and data are kept in {directory}")
    sys.exit(1)


if __name__ == "__main__":
    main()
