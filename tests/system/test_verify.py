"""`metrics-sidecar verify` and `GET /metrics/reconcile`, as they are called."""

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process, System, get, system


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_verify_as_a_command(started: System) -> None:
    """Beside a running sidecar and after it: 0; on a changed history: 1; where there is none: 2."""
    started.start_mock()
    sidecar = started.start_sidecar()
    started.start_gateway()
    for _ in range(5):
        started.invoke()
    started.settled("gpt-3.5", 5)

    def verify(*arguments: str) -> tuple[int, str]:
        process = Process("metrics_sidecar", {"SIDECAR_DATA_DIR": str(started.data)}, "verify", *arguments)
        started.processes.append(process)
        return process.wait(), process.stderr

    assert verify() == (0, "")
    sidecar.signal(signal.SIGKILL)
    sidecar.wait()
    before = files(started.data)
    assert verify() == (0, "")
    assert verify("--data-dir", str(started.data)) == (0, "")
    after = files(started.data)
    # Which readers there are is noted in the index of the log, also while they only read.
    assert {**after, "history.db-shm": b""} == {**before, "history.db-shm": b""}
    code, error = verify("--data-dir", "/nowhere")
    assert (code, error.count("\n")) == (2, 1)
    assert "/nowhere/history.db can't be read: No such file or directory" in error


def test_an_option_before_the_sub_command_is_refused(started: System) -> None:
    """It would be ignored otherwise."""
    process = Process("metrics_sidecar", {}, "--data-dir", "x", "verify")
    started.processes.append(process)
    assert process.wait() == 2
    assert process.stderr == "metrics-sidecar: error: --data-dir must be given after 'verify', not before it.\n"


def test_reconcile_over_http(started: System) -> None:
    """Through the gateway, too; a parameter is refused."""
    started.start_mock()
    started.start_sidecar()
    started.start_gateway()
    started.invoke()
    started.settled("gpt-3.5", 1)
    for url in (started.sidecar_url, started.gateway_url):
        answer = get(f"{url}/metrics/reconcile")
        assert answer["consistent"] is True
        assert answer["checked"]["rows"] == answer["checked"]["totals"] == answer["checked"]["sequences"] == 1
        assert answer["checked"]["counters"] is True
        assert answer["missing"] == {"count": 0, "gap_count": 0, "gaps": []}
    with pytest.raises(urllib.error.HTTPError) as refused_:
        urllib.request.urlopen(f"{started.sidecar_url}/metrics/reconcile?x=1")
    refused_.value.close()
    assert refused_.value.code == 400
