"""The tests themselves pass wherever and however they are started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import debian
from tests.tools import require_tools

ROOT = Path(__file__).parent.parent
SENDS_SIGINT = "tests/deploy/mock/test_server.py::test_a_stopping_server_finishes_what_is_in_flight[2]"
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)


def ignore_signals() -> None:
    """As `nohup` does, a script that starts something with `&`, and some a parent."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.timeout(300)
def test_what_a_shell_ignores_or_has_set_reaches_no_test() -> None:
    """Tests that send SIGINT pass where it is ignored; a gateway of one's own and a proxy are set for others."""
    own = {"MOCK_PORT": "none", "INVOKER_PORT": "none", "LOG_LEVEL": "none", "http_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", SENDS_SIGINT],
        cwd=ROOT, env={**os.environ, **own}, preexec_fn=ignore_signals, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_debians_archive_is_found_on_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt's lists were never fetched there."""
    require_tools("apt-get")
    known = debian.mirror()
    (tmp_path / "lists/partial").mkdir(parents=True)
    configuration = tmp_path / "apt.conf"
    configuration.write_text(f'Dir::State::Lists "{tmp_path}/lists";\n')
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    assert debian.mirror() == known
