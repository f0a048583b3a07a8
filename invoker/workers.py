"""The parent process: starts the workers, restarts one that dies, passes signals on."""

import dataclasses
import os
import signal
import sys

from invoker.file_plan import plan_files, tell_plan
from invoker.models import Models, load_models
from invoker.settings import InvokerSettings
from invoker.shipping import OUTBOX_GRACE_S
from invoker.worker import run_worker
from shared import logs
from shared.clock import Clock
from shared.serving import bind, listen, stop_signals, url_of
from shared.settings import StartupError

CANT_START = 2
"""Exit code of a worker that said why it can't start."""
KILL_AFTER_S = OUTBOX_GRACE_S + 5.0
"""Past the workers' own grace time, one that is still there is killed."""
HEALTHY_AFTER_S = 5.0
RESTART_FIRST_S, RESTART_LAST_S = 0.1, 5.0
MICROSECONDS = 1_000_000

log = logs.get("workers")


class CantStartError(Exception):
    """A worker of the first ones can't start; it has said why."""


class Workers:
    """Runs `settings.workers` processes until a stop signal. Forks, so it owns no thread and no loop."""

    def __init__(self, settings: InvokerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stop_signals = stop_signals()
        self._signals = self._stop_signals | {signal.SIGCHLD}
        self._numbers: dict[int, int] = {}  # pid → worker number
        self._started_us: dict[int, int] = {}
        self._restarted: set[int] = set()
        self._restart_s = RESTART_FIRST_S
        self._pipe = os.pipe()

    def run(self) -> int:
        """The exit code: 0 after a requested stop, 2 if the workers can't start."""
        models = load_models(self._settings)
        tell_plan(plan_files(self._settings.max_connections, self._settings.max_in_flight))
        self._reserve_port()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for number in range(self._settings.workers):
            self._start(number, models)
        try:
            self._supervise(models)
        except CantStartError:
            return self._stop(CANT_START)
        return self._stop(0)

    def _supervise(self, models: Models) -> None:
        """Restart workers that die, until a stop signal."""
        received: int = signal.sigwait(self._signals)
        while received == signal.SIGCHLD:
            received = self._restart_ended(models) or signal.sigwait(self._signals)
        log.info("gateway.stopping", signal=signal.Signals(received).name)

    def _restart_ended(self, models: Models) -> int | None:
        """A stop signal, if one came meanwhile. A worker that can't start is fatal only at first: later, what
        hinders it (a full disk, say) is no reason to end the others."""
        for number, code in self._reap():
            if code == CANT_START and number not in self._restarted:
                raise CantStartError
            if received := self._pause(number):
                return received
            self._restarted.add(number)
            self._start(number, models)
        return None

    def _reserve_port(self) -> None:
        """Settle the port for all workers and refuse one that is taken.

        A listener that shares its port lets any second one of the same user in, so the port is tried
        without sharing first. The socket kept here never listens: it gets no connections.
        """
        settings = self._settings
        probe = bind(settings.host, settings.port, "INVOKER_PORT")
        listen(probe, "INVOKER_PORT")
        port = probe.getsockname()[1]
        probe.close()
        self._reserved = bind(settings.host, port, "INVOKER_PORT", reuse_port=True)
        self._settings = dataclasses.replace(settings, port=port)
        log.info("gateway.starting", url=url_of(self._reserved), workers=settings.workers)

    def _start(self, number: int, models: Models) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_worker(number, models)
        self._numbers[pid] = number
        self._started_us[pid] = self._clock.monotonic_us()

    def _become_worker(self, number: int, models: Models) -> None:
        code = 1
        try:
            os.close(self._pipe[1])
            run_worker(self._settings, models, number, self._pipe[0])
            code = 0
        except StartupError as error:
            print(f"invoker: error: {error}", file=sys.stderr)
            code = CANT_START
        except BaseException:
            log.exception("worker.crashed", worker=number)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> list[tuple[int, int]]:
        """(worker number, exit code) of each that has ended; a signal's number is negative."""
        ended: list[tuple[int, int]] = []
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            ended.append((self._numbers.pop(pid), code))
            lived_us = self._clock.monotonic_us() - self._started_us.pop(pid)
            if lived_us > HEALTHY_AFTER_S * MICROSECONDS:
                self._restart_s = RESTART_FIRST_S
        return ended

    def _pause(self, number: int) -> int | None:
        """Before a restart, longer each time while workers die young. A stop signal ends it and is returned."""
        log.error("worker.died", worker=number, restart_in_s=self._restart_s)
        received = signal.sigtimedwait(self._stop_signals, self._restart_s)
        self._restart_s = min(self._restart_s * 2, RESTART_LAST_S)
        return received.si_signo if received else None

    def _stop(self, code: int) -> int:
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)
        grace_s = self._settings.shutdown_grace_s + KILL_AFTER_S
        deadline_us = self._clock.monotonic_us() + grace_s * MICROSECONDS
        while self._numbers and self._clock.monotonic_us() < deadline_us:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            self._reap()
        for pid in self._numbers:
            log.error("worker.killed", worker=self._numbers[pid])
            os.kill(pid, signal.SIGKILL)
        self._reserved.close()
        log.info("gateway.stopped")
        return code
