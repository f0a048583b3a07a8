"""Several upstreams of a model, and a models file that is changed while calls go on."""

import contextlib
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.namespaces import first_of_namespace
from tests.processes import Json, Process, System, eventually, get, system

CALLERS = 8


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def mocks(started: System, count: int) -> tuple[list[Process], list[str]]:
    """Model servers, and their URLs."""
    processes, urls = [], []
    for _ in range(count):
        processes.append(started.start_mock(MOCK_LATENCY="uniform:0ms,10ms"))
        urls.append(started.upstream)
    return processes, urls


def several(urls: list[str]) -> str:
    return "".join(f"[[m.upstreams]]\nurl = '{url}'\n" for url in urls)


def write(path: Path, text: str) -> None:
    """Whole, as editors and config maps do."""
    (path.parent / "new").write_text(text)
    (path.parent / "new").replace(path)


class Callers:
    """Call one after the other until they are told to stop, each on its own."""

    def __init__(self, started: System) -> None:
        self.answers: list[tuple[int, Json]] = []
        self._system = started
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.answers.append(self._system.invoke("m"))

    def more(self, count: int) -> None:
        """Wait for so many answers."""
        enough = len(self.answers) + count
        eventually(lambda: len(self.answers), lambda answered: answered >= enough, 60)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)


@contextlib.contextmanager
def calling(started: System) -> Iterator[Callers]:
    callers = Callers(started)
    try:
        yield callers
    finally:
        callers.stop()


def rows(started: System, count: int) -> list[Json]:
    """All, once they are there: no more and no fewer."""
    started.settled("m", count)
    found: list[Json] = []
    cursor = ""
    while True:
        page = started.history(f"limit=1000{cursor}")
        found += page["history"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(found) == count
    return found


def test_probes_tell_that_a_model_server_is_away_and_back(started: System, tmp_path: Path) -> None:
    """Without any call; to all workers; and none of them is an invocation."""
    (first, _), urls = mocks(started, 2)
    started.start_sidecar()
    check = '{ path = "/healthz", interval = 0.1, failures = 2 }'
    (tmp_path / "models.toml").write_text(f"[m]\nhealth = {check}\n{several(urls)}")
    started.start_gateway(INVOKER_MODELS_FILE=str(tmp_path / "models.toml"), INVOKER_WORKERS="2")

    def first_of_m(reached: Callable[[Json], bool]) -> Json:
        found: Json = eventually(lambda: get(f"{started.gateway_url}/upstreams")["upstreams"][0], reached)
        return found

    assert first_of_m(lambda told: told["probe"] is not None)["probe"]["failure"] == ""
    first.kill_all()
    told = first_of_m(lambda told: told["state"] == "out")
    assert (told["until"], told["attempts"], told["probe"]["path"]) == (None, {}, "/healthz")
    assert told["reason"].startswith("its probes fail, the last: ")
    assert [started.invoke("m")[0] for _ in range(20)] == [200] * 20
    started.start_mock(MOCK_PORT=urls[0].partition("/invoke")[0].rpartition(":")[2])
    assert first_of_m(lambda told: told["state"] == "in")["attempts"] == {}
    assert {row["upstream"] for row in rows(started, 20)} == {urls[1].split("/")[2]}


def test_a_name_of_several_addresses_is_several_endpoints(started: System, tmp_path: Path) -> None:
    """As the system has them in its file of hosts. While one of them is away, no call fails."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.2 several.test\n127.0.0.3 several.test\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    first, _ = [started.start_mock(MOCK_HOST=host, MOCK_PORT=port) for host in ("127.0.0.2", "127.0.0.3")]
    started.start_sidecar()
    url = f"http://several.test:{port}"
    mounted = ("sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))
    settings = {"INVOKER_UPSTREAM_URL": f"{url}/invoke", "INVOKER_OPENAI_URL": "", "INVOKER_ANTHROPIC_URL": ""}
    started.start_gateway(prefix=(*first_of_namespace(), *mounted), **settings)

    def of_worklets() -> list[Json]:
        return [one for one in get(f"{started.gateway_url}/upstreams")["upstreams"] if one["protocol"] == "worklet"]

    told = eventually(of_worklets, lambda told: len(told) == 2)
    name = url.removeprefix("http://")
    assert [(one["name"], one["address"]) for one in told] == [(name, "127.0.0.2"), (name, "127.0.0.3")]
    assert [started.invoke("m")[0] for _ in range(50)] == [200] * 50
    assert min(one["attempts"]["success"] for one in of_worklets()) > 5
    first.kill_all()
    assert [started.invoke("m")[0] for _ in range(50)] == [200] * 50
    assert [one["state"] for one in of_worklets()] == ["out", "in"]
    assert {row["upstream"] for row in rows(started, 100)} == {name}


def test_a_model_server_that_is_killed_loses_no_call_whose_retry_is_safe(started: System, tmp_path: Path) -> None:
    """Calls that it may have begun fail, at most one of each caller; all others are answered by the other one."""
    (first, _), urls = mocks(started, 2)
    started.start_sidecar()
    (tmp_path / "models.toml").write_text(several(urls))
    started.start_gateway(INVOKER_MODELS_FILE=str(tmp_path / "models.toml"), INVOKER_WORKERS="2")
    with calling(started) as callers:
        callers.more(200)
        first.kill_all()
        callers.more(400)
    statuses = Counter(status for status, _ in callers.answers)
    assert statuses.keys() <= {200, 502}
    assert statuses[502] <= CALLERS
    found = rows(started, len(callers.answers))
    assert Counter(row["error_type"] for row in found) == Counter({None: statuses[200], "connect": statuses[502]})
    names = [url.removeprefix("http://").removesuffix("/invoke") for url in urls]
    ok = Counter(row["upstream"] for row in found if row["success"])
    assert ok.keys() == {*names}
    assert min(ok.values()) > 50
    assert all(row["attempts"] <= 2 and row["upstream"] == names[1] for row in found if row["attempts"] != 1)
    assert get(f"{started.sidecar_url}/metrics/reconcile")["consistent"] is True
    tried = sum(row["attempts"] for row in found)
    told = eventually(
        lambda: get(f"{started.gateway_url}/upstreams"),
        lambda told: sum(sum(each["attempts"].values()) for each in told["upstreams"][:2]) == tried,
    )
    assert told["workers"] == 2
    assert [each["attempts"].get("success", 0) for each in told["upstreams"][:2]] == [ok[name] for name in names]
    assert [each["outstanding"] for each in told["upstreams"]] == [0] * len(told["upstreams"])


def newest(started: System) -> set[str]:
    """The upstreams of the last calls."""
    return {row["upstream"] for row in started.history("limit=50")["history"]}


def test_a_changed_models_file_is_used_and_no_call_notices(started: System, tmp_path: Path) -> None:
    """By all workers; a bad one is not used, and that is said until it is mended."""
    _, urls = mocks(started, 2)
    names = [url.removeprefix("http://").removesuffix("/invoke") for url in urls]
    started.start_sidecar()
    path = tmp_path / "models.toml"
    path.write_text(several(urls[:1]))
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS="2")
    with calling(started) as callers:
        callers.more(50)
        write(path, several(urls[1:]))
        gateway.event("models.loaded")
        eventually(lambda: newest(started), lambda upstreams: upstreams == {names[1]}, 30)
        write(path, "[m]\nupstream = 'nowhere'")
        gateway.event("models.refused")
        reasons = eventually(lambda: get(f"{started.gateway_url}/readyz")["reasons"], bool)
        assert ["upstream: 'nowhere' is not" in reason for reason in reasons] == [True]
        callers.more(50)
        assert newest(started) == {names[1]}
        write(path, several(urls[1:]))
        gateway.event("models.loaded", 2)
        eventually(lambda: get(f"{started.gateway_url}/readyz")["reasons"], lambda reasons: not reasons)
    assert {status for status, _ in callers.answers} == {200}
    assert {row["upstream"] for row in rows(started, len(callers.answers))} == {*names}
    assert gateway.stop() == 0


def test_hangup_reads_what_the_file_names(started: System, tmp_path: Path) -> None:
    """A key, say, of which the file itself says nothing."""
    _, urls = mocks(started, 1)
    path, key = tmp_path / "models.toml", tmp_path / "key"
    key.write_text("k1")
    path.write_text(f"[m]\nupstream = '{urls[0]}'\napi_key_file = 'key'")
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path))
    key.unlink()
    gateway.signal(signal.SIGHUP)
    assert "api_key_file" in gateway.event("models.refused")["reason"]
    assert started.invoke("m")[0] == 200  # with what it had
    key.write_text("k2")
    gateway.signal(signal.SIGHUP)
    gateway.event("models.loaded")
    assert gateway.stop() == 0


def test_a_worker_that_comes_later_has_the_models_of_now(started: System, tmp_path: Path) -> None:
    _, urls = mocks(started, 2)
    path = tmp_path / "models.toml"
    path.write_text(several(urls[:1]))
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_UPSTREAM_URL="")
    write(path, several(urls[1:]).replace("[[m.", "[[n."))
    gateway.event("models.loaded")
    os.kill(gateway.event("worker.listening")["pid"], signal.SIGKILL)
    gateway.event("worker.listening", 2)
    assert [started.invoke(model_id)[0] for model_id in ("m", "n")] == [404, 200]
