"""Runs several processes in the foreground with their logs side by side.

Processes stop in reverse order of start, so that a consumer is there until its producers have drained.
"""

import asyncio
import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from shared.log_output import LineOutput
from shared.logs import FLUSH_S

KILL_WAIT_S = 20.0
"""From the request to stop to SIGKILL: more than the gateway's 10 s for calls in flight."""

READ_WAIT_S = 5.0
"""For the last lines of a process that has ended. What it started is killed with it, and holds its output no longer."""

MAX_LINE_BYTES = 1024 * 1024
"""Of a longer line, only the end is shown."""

SYSTEM = "system"
COLOURS = (36, 33, 32, 35, 31, 34)
"""Of ANSI terminals: cyan, yellow, green, magenta, red, blue."""

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, even by SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


@dataclass(eq=False)
class Process:
    """One that was started, in a process group of its own."""

    name: str
    colour: int
    child: "subprocess.Popen[bytes]"
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False

    def ask(self) -> None:
        """To stop, once: to some programs a second request says to drop everything."""
        if not self.asked:
            self.asked = True
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """To it and all that it has started, if it hasn't ended: until then its number is nobody else's."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    def wait(self) -> None:
        """Until it has ended, and then nothing of its group is left."""
        os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        self.signal(signal.SIGKILL)


class Supervisor:
    """`run` returns when every process has ended: 0 after a requested stop, else the first one's code."""

    def __init__(
        self, commands: Mapping[str, str], env: Mapping[str, str], greeting: Callable[[], Awaitable[str]]
    ) -> None:
        """`greeting` waits for a text, which is shown unless all is stopping by then."""
        self._commands = commands
        self._env = env
        self._greeting = greeting
        self._output = LineOutput(1, lambda count: self._say(f"{count} lines were dropped: nobody read them"))
        self._is_coloured = sys.stdout.isatty()
        self._width = max(map(len, (SYSTEM, *commands)))
        self._processes: list[Process] = []
        self._stopping = asyncio.Event()
        self._returncode = 0

    def run(self) -> int:
        """Start everything, show its output, and stop everything at a signal or at the first end."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no exit code is kept
        try:
            asyncio.run(self._supervise())
        finally:
            self._output.flush(FLUSH_S)
        return self._returncode

    async def _supervise(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._request)
        with ThreadPoolExecutor(len(self._commands)) as threads:
            try:
                self._start()
                beside = [asyncio.create_task(self._stop()), asyncio.create_task(self._greet())]
                await asyncio.gather(*(self._watch(process, threads) for process in self._processes))
                for task in beside:
                    task.cancel()
            finally:
                self._signal_all(signal.SIGKILL)

    def _start(self) -> None:
        """All from this thread, with whose death theirs comes, and before there is another one."""
        colours = itertools.cycle(COLOURS)
        for name, command in self._commands.items():
            child = subprocess.Popen(
                f"exec {command}", shell=True, env=self._env, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=lambda: end_with_parent(signal.SIGTERM),  # noqa: PLW1509 # there is no other thread yet
            )  # fmt: skip
            self._processes.append(Process(name, next(colours), child))
        self._output.start()

    async def _watch(self, process: Process, threads: ThreadPoolExecutor) -> None:
        """Show what it says until it has ended; its last lines come before the line that says that it has stopped."""
        reading = asyncio.create_task(self._read(process))
        await asyncio.get_running_loop().run_in_executor(threads, process.wait)
        await asyncio.wait([reading], timeout=READ_WAIT_S)
        reading.cancel()
        process.ended.set()
        number = process.child.wait()
        if self._stopping.is_set():
            self._say(f"{process.name} stopped")
            return
        code = number if number >= 0 else 128 - number
        self._say(f"{process.name} ended with exit code {code}; stopping the others")
        self._returncode = code or 1
        self._stopping.set()

    async def _read(self, process: Process) -> None:
        reader = asyncio.StreamReader(MAX_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.child.stdout
        )
        with contextlib.closing(transport):
            while not reader.at_eof():
                with contextlib.suppress(ValueError):  # too long
                    for line in (await reader.readline()).decode(errors="replace").splitlines():
                        self._show(process.name, process.colour, line)

    def _request(self) -> None:
        """To stop: in good order at first, all at once when it comes again."""
        if not self._stopping.is_set():
            self._say("stopping")
            self._stopping.set()
            return
        for process in self._processes:
            process.ask()

    async def _stop(self) -> None:
        await self._stopping.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_WAIT_S):
                for process in reversed(self._processes):
                    process.ask()
                    await process.ended.wait()
        self._signal_all(signal.SIGKILL)

    async def _greet(self) -> None:
        text = await self._greeting()
        if not self._stopping.is_set():
            self._output.write(text)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.signal(number)

    def _say(self, text: str) -> None:
        self._show(SYSTEM, None, text)

    def _show(self, name: str, colour: int | None, line: str) -> None:
        prefix = f"{time.strftime('%H:%M:%S')} {name.ljust(self._width)} | "
        if colour is not None and self._is_coloured:
            prefix = f"\033[0m\033[{colour}m{prefix}\033[0m"
        self._output.write(prefix + line)
