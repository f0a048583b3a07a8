"""`make stack-test`: the stack of deploy/compose.yaml, run for real by an engine of its own, and checked.

Root, Linux and Debian's packages are needed, and no registry: see `standins`. Whatever happens, nothing stays
behind: see `sandbox`.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import SubprocessError

from tests import debian
from tests.stack import engine, sandbox, standins
from tests.stack.checks import CHECKS
from tests.stack.compose import ROOT, Stack, compose_binary
from tests.tools import find_tool

TOOLS = (*sandbox.TOOLS, *engine.TOOLS, *standins.TOOLS, "curl")
INTERRUPTED = 130


def main() -> int:
    """Outside: fetch what comes from Debian, and start ourselves again in a sandbox. Inside: everything else."""
    parser = argparse.ArgumentParser(prog="tests.stack", description=__doc__)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    inside = parser.parse_args().inside
    if inside is not None:
        return check(inside)
    missing = [tool for tool in TOOLS if find_tool(tool) is None]
    if os.geteuid() != 0 or missing:
        why = f"not installed: {', '.join(missing)}" if missing else "it starts a container engine, which needs root"
        print(f"tests.stack: {why}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    try:
        with sandbox.scratch_directory() as directory:
            timed("what comes from Debian", fetch)
            command = [sys.executable, "-m", "tests.stack", "--inside", str(directory)]
            code = sandbox.run_in_sandbox(command, directory.name)
    except KeyboardInterrupt:
        code = INTERRUPTED
    outcome = {0: "passed", INTERRUPTED: "interrupted"}.get(code, "FAILED")
    print(f"{outcome} in {time.monotonic() - begun:.0f} s", flush=True)
    return code


def fetch() -> str:
    standins.prepare_python(base_image())
    for ready in (compose_binary, debian.prometheus, debian.promtool, debian.alertmanager, standins.busybox):
        ready()
    return "unpacked"


def base_image() -> str:
    return standins.python_tag(ROOT / "deploy" / "Dockerfile")


def check(directory: Path) -> int:
    """Engine, images, stack, checks; at the first failure, what the containers said."""
    sandbox.enter()
    with engine.running_engine(directory, directory.name) as docker:
        stack = Stack(docker, base_image())
        steps = {"stand-in images": load, "docker compose build": build, "docker compose up --wait": up}
        checks = {one.__name__.replace("_", " "): one for one in CHECKS}
        try:
            for name, step in {**steps, **checks}.items():
                timed(name, partial(step, stack))
        except (AssertionError, RuntimeError, OSError, LookupError, ValueError, SubprocessError) as error:
            print(f"{last_words(stack)}\n{explained(error)}", flush=True)
            return 1
        finally:
            stack.compose("down", "--volumes", "--timeout", "5")
    return 0


def build(stack: Stack) -> str:
    stack.compose("build")
    return stack.images["gateway"]


def up(stack: Stack) -> str:
    stack.up()
    return f"healthy: {', '.join(stack.images)}"


def load(stack: Stack) -> str:
    standins.load_python(stack.engine, stack.base_image, standins.prepare_python(stack.base_image))
    standins.load_prometheus(stack.engine, stack.images["prometheus"])
    standins.load_alertmanager(stack.engine, stack.images["alertmanager"])
    return ", ".join([stack.base_image, stack.images["prometheus"], stack.images["alertmanager"]])


def timed(name: str, work: Callable[[], str]) -> None:
    """Do it, and print a line of how long it took and what it says."""
    begun = time.monotonic()
    said = work()
    print(f"{time.monotonic() - begun:6.1f} s  {name}: {said}", flush=True)


def explained(error: Exception) -> str:
    """Where it failed, with the values there: an assert says nothing of them outside of pytest."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=True, limit=-2).format()
    return "".join(line[:2000] for line in lines)


def last_words(stack: Stack) -> str:
    try:
        return stack.compose("ps", "--all") + stack.compose("logs", "--no-color", "--tail", "40")
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
