"""How often one call reaches model servers that count what they get, and what their answers mean for the next ones."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from invoker.routing.ejection import FAILURES_IN_A_ROW
from invoker.routing.retry_budget import AT_LEAST, PART
from tests.processes import System, get, system

Answer = tuple[int, dict[str, str]]
"""Status and headers."""
OK: Answer = (200, {})


class ModelServer:
    """Answers each call as it is told to; `hits`: how many of each model came."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        hits: Counter[str] = Counter()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model_id = json.loads(body)["worklet_input"]["model_id"]
                hits[model_id] += 1
                status, headers = answer(model_id)
                said = b'{"worklet_output": 1}'
                self.send_response(status)
                for name, value in {"Content-Length": str(len(said)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Nowhere."""

        self.hits = hits
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/invoke"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def gateway(
    directory: Path, table: str, *answers: Callable[[str], Answer]
) -> Iterator[tuple[System, list[ModelServer]]]:
    """One worker. In the table, `{0}` is the first model server's URL, and so on."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(contextlib.closing(ModelServer(answer))) for answer in answers]
        started = stack.enter_context(system(directory))
        (directory / "models.toml").write_text(table.format(*(server.url for server in servers)))
        started.start_gateway(INVOKER_MODELS_FILE=str(directory / "models.toml"))
        yield started, servers


TWO = "[m]\nretries = {{retries}}\n[[m.upstreams]]\nurl = '{0}'\n[[m.upstreams]]\nurl = '{1}'\n"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_one_call_comes_once_and_as_often_again_as_its_model_may_try(tmp_path: Path, retries: int) -> None:
    """Nothing below tries it again by itself; and first where it wasn't."""
    table = TWO.replace("{{retries}}", str(retries))
    with gateway(tmp_path, table, *2 * [lambda _: (503, {})]) as (started, servers):
        assert started.invoke("m")[0] == 503
        hits = [server.hits["m"] for server in servers]
    assert sum(hits) == 1 + retries
    assert max(hits) - min(hits) <= 1


def test_an_outage_of_all_is_not_made_worse(tmp_path: Path) -> None:
    """However many attempts a call may have, a fifth of the calls is tried again, or a few in ten seconds."""
    count, began_s = 80, time.monotonic()
    table = TWO.replace("{{retries}}", "10")
    with gateway(tmp_path, table, *2 * [lambda _: (503, {"Retry-After": "0"})]) as (started, servers):
        assert {started.invoke("m")[0] for _ in range(count)} == {503}
        hits = sum(server.hits["m"] for server in servers)
    lasted_s = time.monotonic() - began_s
    assert count < hits <= count * (1 + PART) + AT_LEAST * (lasted_s / 10 + 1)


def in_a_minute(model_id: str) -> Answer:
    """No room for one of the models."""
    return (429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}) if model_id == "team/busy" else OK


def test_no_room_for_one_model_is_room_for_another(tmp_path: Path) -> None:
    """An upstream that says until when it has none gets no more calls of that model, and those of others all the same;
    nor is it out for it."""
    table = "[['team/*'.upstreams]]\nurl = '{0}'\n[['team/*'.upstreams]]\nurl = '{1}'\n"
    with gateway(tmp_path, table, in_a_minute, lambda _: OK) as (started, (busy, free)):
        for _ in range(30):
            assert [started.invoke(model_id)[0] for model_id in ("team/busy", "team/other")] == [200, 200]
        (state, *_) = get(f"{started.gateway_url}/upstreams")["upstreams"]
    assert busy.hits["team/busy"] == 1
    assert free.hits["team/busy"] == 30
    assert busy.hits["team/other"] > 1
    assert (state["state"], state["cooling_models"]) == ("in", 1)


def test_the_next_tier_is_tried_once_the_first_one_was(tmp_path: Path) -> None:
    """Not the first one again; and later calls go there at once, as long as the first one has no room."""
    table = "".join(f"[[m.upstreams]]\nurl = '{{{n}}}'\npriority = {n // 2}\n" for n in range(3))
    busy: Callable[[str], Answer] = lambda _: (429, {"Retry-After": "60"})  # noqa: E731
    with gateway(tmp_path, table, busy, busy, lambda _: OK) as (started, servers):
        assert [started.invoke("m")[0] for _ in range(20)] == [200] * 20
    assert [server.hits["m"] for server in servers] == [1, 1, 20]


def test_an_only_upstream_is_never_out(tmp_path: Path) -> None:
    """Each call goes there, however many have failed."""
    count = 3 * FAILURES_IN_A_ROW
    with gateway(tmp_path, "[m]\nupstream = '{0}'\n", lambda _: (500, {})) as (started, (server,)):
        assert {started.invoke("m")[0] for _ in range(count)} == {502}
        (state, *_) = get(f"{started.gateway_url}/upstreams")["upstreams"]
    assert server.hits["m"] == count
    assert state["state"] == "in"
