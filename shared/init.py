"""What the first process of a container owes to the others: to wait for those whose parent has died.

Any command may be that process, with children that it knows nothing of: those that it inherited, and what `exec` into
the container left behind. It can't tell them from its own where a library waits for these; so it goes on in a child.
"""

import os
import signal

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
FROM_A_TERMINAL = 128
"""`SI_KERNEL`: such a signal has gone to all processes of the terminal."""


def go_on_below_init() -> None:
    """Return in a child if this process has the id 1: it itself passes signals on, waits for whatever ends, and exits
    as that child does."""
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, nobody can be waited for
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_wait_for(child))


def _wait_for(child: int) -> int:
    """Its exit code, or 128 and the number of the signal that ended it."""
    while True:
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:  # some may have ended before signals were waited for
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                return code if code >= 0 else 128 - code
        received = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD})
        if received.si_signo != signal.SIGCHLD and received.si_code != FROM_A_TERMINAL:
            os.kill(child, received.si_signo)
