"""The parent process: starts the workers, replaces those that die or stand still, passes signals on."""

import dataclasses
import os
import signal

from invoker.delivery.assignment import OUTBOX_GRACE_S
from invoker.process.common import Common
from invoker.process.file_plan import plan_files, tell_plan
from invoker.process.serving import run_worker
from invoker.process.snapshot import ModelsFile
from invoker.settings import InvokerSettings
from shared import logs
from shared.addresses import bind, close_all, listen, urls_of
from shared.clock import Clock
from shared.serving import stop_signals
from shared.settings import StartupError
from shared.stillness import MICROSECONDS, Stillness

CANT_START = 2
"""Exit code of a worker that said why it can't start."""
KILL_AFTER_S = OUTBOX_GRACE_S + 5.0
"""Past the workers' own grace time, one that is still there is killed."""
REAP_S = 5.0
"""So long may one that was killed take to end."""
HEALTHY_AFTER_S = 5.0
RESTART_FIRST_S, RESTART_LAST_S = 0.1, 5.0
TICK_S = 1.0
"""How often workers are looked at. They give a sign of life twice as often."""
START_TIMEOUT_S = 60.0
"""A worker that doesn't serve yet may stand still for longer: its disk may be slow, and no caller waits for it."""

log = logs.get("workers")


def has_terminal() -> bool:
    """Whether SIGHUP may mean that it is gone, and not that files are to be read anew."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class CantStartError(Exception):
    """A worker of the first ones can't start; it has said why."""


@dataclasses.dataclass(slots=True)
class Running:
    """One worker as its parent knows it."""

    number: int
    started_us: int
    stillness: Stillness
    killed: bool = False


class Workers:
    """Runs `settings.workers` processes until a stop signal. Forks, so it owns no thread and no loop."""

    def __init__(self, settings: InvokerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        reloads = settings.models_file is not None and not has_terminal()
        self._reload_signals = {signal.SIGHUP} if reloads else set()
        self._stop_signals = stop_signals() - self._reload_signals
        self._running: dict[int, Running] = {}  # by process id
        self._common = Common(settings.workers)
        self._due_us: dict[int, int] = {}  # worker number → when it is started again
        self._restarted: set[int] = set()
        self._restart_s = RESTART_FIRST_S
        self._pipe = os.pipe()

    def run(self) -> int:
        """The exit code: 0 after a requested stop, 2 if the workers can't start."""
        self._models_file = ModelsFile(self._settings, self._common.models, self._common.tallies, self._clock)
        tell_plan(plan_files(self._settings.max_connections, self._settings.max_in_flight))
        self._reserve_port()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, no worker can be waited for
        signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stop_signals, *self._reload_signals, signal.SIGCHLD})
        for number in range(self._settings.workers):
            self._start(number)
        try:
            received = self._supervise()
        except CantStartError:
            return self._stop(signal.SIGINT, CANT_START)
        log.info("gateway.stopping", signal=signal.Signals(received).name)
        return self._stop(received, 0)

    def _supervise(self) -> int:
        """Replace workers that end or stand still, and models that were changed, until a stop signal: which one."""
        while (received := self._wait()) not in self._stop_signals:
            self._note_ended()
            self._kill_still()
            self._models_file.look(asked=received in self._reload_signals)
            self._start_due()
        return received

    def _wait(self) -> int:
        """For a signal, or until something is due: its number, or 0."""
        next_us = min(self._due_us.values(), default=None)
        wait_s = TICK_S if next_us is None else (next_us - self._clock.monotonic_us()) / MICROSECONDS
        received = signal.sigtimedwait(
            {*self._stop_signals, *self._reload_signals, signal.SIGCHLD}, min(max(wait_s, 0.0), TICK_S)
        )
        return received.si_signo if received else 0

    def _reserve_port(self) -> None:
        """Settle the port for all workers and refuse one that is taken.

        A listener that shares its port lets any second one of the same user in, so the port is tried
        without sharing first. The sockets kept here never listen: they get no connections.
        """
        settings = self._settings
        probe = bind(settings.host, settings.port, "INVOKER_PORT")
        listen(probe, "INVOKER_PORT")
        port = probe[0].getsockname()[1]
        close_all(probe)
        self._reserved = bind(settings.host, port, "INVOKER_PORT", reuse_port=True)
        self._settings = dataclasses.replace(settings, port=port)
        log.info("gateway.starting", url=urls_of(self._reserved), workers=settings.workers)

    # Starts.

    def _start(self, number: int) -> None:
        self._common.reset(number)
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: it may pass
            log.error("worker.not_started", worker=number, reason=error.strerror, restart_in_s=self._restart_s)
            self._plan_start(number)
            return
        if pid == 0:
            self._become_worker(number)
        now_us = self._clock.monotonic_us()
        self._running[pid] = Running(number, now_us, Stillness(pid, now_us, TICK_S))

    def _start_due(self) -> None:
        now_us = self._clock.monotonic_us()
        for number in [number for number, due_us in self._due_us.items() if due_us <= now_us]:
            del self._due_us[number]
            self._restarted.add(number)
            self._start(number)

    def _plan_start(self, number: int) -> None:
        """After a pause, which is longer each time."""
        self._due_us[number] = self._clock.monotonic_us() + round(self._restart_s * MICROSECONDS)
        self._restart_s = min(self._restart_s * 2, RESTART_LAST_S)

    def _become_worker(self, number: int) -> None:
        code = 1
        try:
            os.close(self._pipe[1])
            logs.start_writer()
            for reload in self._reload_signals:
                signal.signal(reload, signal.SIG_IGN)  # it is meant for the parent, also if all are sent it
            models = self._models_file.current
            run_worker(self._settings, models, number, self._pipe[0], self._common)
            code = 0
        except StartupError as error:
            logs.tell(f"invoker: error: {error}")
            code = CANT_START
        except BaseException:
            log.exception("worker.crashed", worker=number)
        finally:
            logs.flush()
            os._exit(code)

    # Ends.

    def _note_ended(self) -> None:
        """Each is to be started again, later each time while workers die young. One that can't start is fatal only at
        first: later, what hinders it (a full disk, say) is no reason to end the others."""
        for worker, code in self._reap():
            if code == CANT_START and worker.number not in self._restarted:
                raise CantStartError
            if self._clock.monotonic_us() - worker.started_us > HEALTHY_AFTER_S * MICROSECONDS:
                self._restart_s = RESTART_FIRST_S
            log.error("worker.died", worker=worker.number, exit_code=code, restart_in_s=self._restart_s)
            self._plan_start(worker.number)

    def _reap(self) -> list[tuple[Running, int]]:
        """Each worker that has ended, with its exit code; a signal's number is negative. Only those are waited for:
        this process may have been given other children."""
        ended: list[tuple[Running, int]] = []
        for pid in [*self._running]:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                worker = self._running.pop(pid)
                self._common.tallies.clear(worker.number)
                ended.append((worker, os.waitstatus_to_exitcode(status)))
        return ended

    def _kill_still(self) -> None:
        """Its share of the port would go on swallowing connections."""
        timeout_s, now_us = self._settings.worker_timeout_s, self._clock.monotonic_us()
        for pid, worker in self._running.items():
            sign = self._common.heartbeats.of(worker.number)
            still_s = worker.stillness.check(sign, now_us)
            if not worker.killed and 0 < (timeout_s if sign else max(timeout_s, START_TIMEOUT_S)) < still_s:
                log.error("worker.stands_still", worker=worker.number, pid=pid, still_s=round(still_s, 1))
                self._kill(pid, worker)

    def _kill(self, pid: int, worker: Running) -> None:
        worker.killed = True
        os.kill(pid, signal.SIGKILL)
        log.error("worker.killed", worker=worker.number, pid=pid)

    def _stop(self, number: int, code: int) -> int:
        """As this signal wants it: SIGTERM leaves time to callers to turn elsewhere, unless a second signal comes."""
        self._tell(signal.SIGTERM if number == signal.SIGTERM else signal.SIGINT)
        self._due_us.clear()
        self._wait_for_ends(self._settings.drain_delay_s + self._settings.shutdown_grace_s + KILL_AFTER_S)
        for pid, worker in self._running.items():
            self._kill(pid, worker)
        self._wait_for_ends(REAP_S)
        close_all(self._reserved)
        log.info("gateway.stopped")
        return code

    def _wait_for_ends(self, seconds: float) -> None:
        deadline_us = self._clock.monotonic_us() + round(seconds * MICROSECONDS)
        self._reap()
        while self._running and self._clock.monotonic_us() < deadline_us:
            if self._wait() in self._stop_signals:
                self._tell(signal.SIGINT)
            self._reap()
            self._kill_still()

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._running:
            os.kill(pid, number)
