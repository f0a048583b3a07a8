"""`make newcomer`: an ordinary user of a fresh Debian, in a clone of this checkout: `make run` serves, all tests pass.

Signals of a terminal are ignored there, as with `nohup make test &`. Root, Linux and Debian's packages are needed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.newcomer import machine
from tests.processes import post
from tests.stack import sandbox
from tests.tools import find_tool

TOOLS = (*sandbox.TOOLS, *machine.TOOLS)
RUN_TIMEOUT_S = 600.0
GATEWAY = "http://127.0.0.1:8000"
CALL = {"worklet_input": {"model_id": "gpt-3.5", "input": [1, 2, 3]}}


def main() -> int:
    """Outside: make the machine, and start ourselves again in a sandbox. Inside: what a newcomer types."""
    parser = argparse.ArgumentParser(prog="tests.newcomer", description=__doc__)
    parser.add_argument("--suite", default="trixie", help="Debian's release (trixie)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help="for pytest")
    options = parser.parse_args()
    if options.inside is not None:
        return newcomer(machine.Machine(options.inside), options.arguments)
    missing = [tool for tool in TOOLS if find_tool(tool) is None]
    if os.geteuid() != 0 or missing:
        why = f"not installed: {', '.join(missing)}" if missing else "a machine of its own needs root"
        print(f"tests.newcomer: {why}", file=sys.stderr)
        return 2
    with sandbox.scratch_directory() as directory:
        begun = time.monotonic()
        made = machine.prepare(directory, options.suite)
        print(f"a new {options.suite} after {time.monotonic() - begun:.0f} s", flush=True)
        command = [sys.executable, "-m", "tests.newcomer", "--inside", str(made.root), "--", *options.arguments]
        return sandbox.run_in_sandbox(command, directory.name)


def newcomer(made: machine.Machine, arguments: list[str]) -> int:
    """The exit code of `make test`."""
    sandbox.enter()
    made.mount()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    make_run(made)
    return subprocess.run(made.command("make", "test", f"ARGS={' '.join(arguments)}"), check=False).returncode


def make_run(made: machine.Machine) -> None:
    """Until everything is running; one call; and a SIGTERM, after which each process stops in order."""
    with subprocess.Popen(made.command("make", "run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(RUN_TIMEOUT_S, process.kill)
        watchdog.start()
        said = []
        for line in process.stdout:
            said.append(line.decode())
            if "Everything is running" in said[-1]:
                break
        else:
            raise RuntimeError(f"make run: {''.join(said)}")
        status, answer = post(f"{GATEWAY}/invoke", json.dumps(CALL).encode())
        process.terminate()
        said.append(process.stdout.read().decode())
        watchdog.cancel()
    if (status, answer["worklet_output"]) != (200, [6, 7, 8]) or "mock stopped" not in said[-1]:
        raise RuntimeError(f"make run: {status} {answer} {''.join(said)}")
    print("make run: served a call, and stopped", flush=True)


if __name__ == "__main__":
    sys.exit(main())
