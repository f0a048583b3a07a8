"""For all tests: property tests have no time limits, which say more about the machine than about what is tested; and
nothing that the shell of whoever runs them has set or ignores reaches the processes that they start."""

import os
import signal

from hypothesis import HealthCheck, settings

SETTINGS = ("INVOKER_", "SIDECAR_", "MOCK_", "LOAD_", "LOG_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
QUICK_EXAMPLES = 10
STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def forget_settings() -> None:
    """What is set for a gateway of one's own, and a proxy, to which calls on this machine aren't to go."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name.lower() in PROXIES:
            del os.environ[name]


def pass_on_no_ignored_signals() -> None:
    """Ignored signals (`nohup`, `&` in a script) are inherited, a handler isn't; so we go on ignoring, by a handler."""
    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOPS, signal.SIGCHLD})


project = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("project", project)
settings.register_profile("quick", project, max_examples=QUICK_EXAMPLES)
settings.load_profile("project")
forget_settings()
pass_on_no_ignored_signals()
