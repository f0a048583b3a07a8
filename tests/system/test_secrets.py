"""Keys of upstreams: sent there, and found nowhere else, whatever the upstream says of them."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processes import System, eventually, get_text, system

VARIABLE, FILE, HEADER, PASSWORD = "s3cret-of-a-variable", "s3cret-of-a-file", "s3cret-of-a-header", "s3cret-password"
THEIRS = "s3cret-of-a-caller"
CALLS = {
    "/v1/chat/completions": b'{"model": "by-variable"}',
    "/v1/messages": b'{"model": "by-file"}',
    "/invoke": b'{"worklet_input": {"model_id": "by-header", "input": 1}}',
    "/v1/completions": b'{"model": "by-password"}',
    "/v1/embeddings": b'{"model": "by-caller"}',
}


class Echo(BaseHTTPRequestHandler):
    """Says in an error all that it was told."""

    said: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.said.append(str(self.headers))
        body = json.dumps({"error": {"message": str(self.headers)}}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it was told."""
    said: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SomeEcho", (Echo,), {"said": said}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", said
    server.shutdown()
    thread.join()
    server.server_close()


def ask(started: System, path: str, body: bytes) -> str:
    request = urllib.request.Request(
        f"{started.gateway_url}{path}", body, {"Content-Type": "application/json", "Authorization": f"Bearer {THEIRS}"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as error:
        return f"{error.headers}{error.read().decode()}"


def written(started: System) -> str:
    """All that the processes have told anybody: logs, files, and what can be asked."""
    files = [path.read_bytes() for path in started.directory.rglob("*") if path.is_file() and path.suffix != ".key"]
    logs = [process.stderr for process in started.processes]
    pages = [
        get_text(url)
        for url in (
            f"{started.gateway_url}/readyz",
            f"{started.gateway_url}/openapi.json",
            f"{started.gateway_url}/v1/models",
            *(f"{started.sidecar_url}{path}" for path in ("/metrics", "/metrics/history", "/metrics/stats")),
        )
    ]
    return "\n".join([*(content.decode("latin-1") for content in files), *logs, *pages])


def test_secrets_are_found_nowhere(tmp_path: Path, echo: tuple[str, list[str]]) -> None:
    """In no log, record, error, metric or file, of an upstream that echoes them; nor is a caller's."""
    address, said = echo
    (tmp_path / "of.key").write_text(f"{FILE}\n")
    tables = {
        "by-variable": f'protocol = "openai"\nupstream = "http://{address}/v1"\napi_key_env = "OF_UPSTREAM"',
        "by-file": f'protocol = "anthropic"\nupstream = "http://{address}"\napi_key_file = "of.key"',
    }
    models = tmp_path / "models.toml"
    models.write_text("".join(f'["{name}"]\n{table}\n' for name, table in tables.items()))
    with system(tmp_path / "system") as started:
        started.directory.mkdir()
        secret_tables = {
            "by-header": f'upstream = "http://{address}/x"\nheaders = {{ x-token = "{HEADER}" }}',
            "by-password": f'protocol = "openai"\nupstream = "http://user:{PASSWORD}@{address}/v1"',
        }
        models.write_text(
            models.read_text() + "".join(f'["{name}"]\n{table}\n' for name, table in secret_tables.items())
        )
        started.start_sidecar()
        started.start_gateway(
            INVOKER_MODELS_FILE=str(models), OF_UPSTREAM=VARIABLE, INVOKER_OPENAI_URL=f"http://{address}/v1"
        )
        answers = [ask(started, path, body) for path, body in CALLS.items()]
        sent = (VARIABLE, FILE, HEADER, "Basic ", THEIRS)
        for name, secret in zip((*tables, *secret_tables, "by-caller"), sent, strict=True):
            started.settled(name, 1)
            assert sum(secret in one for one in said) == 1, name
        rows = eventually(started.history, lambda page: len(page["history"]) == len(CALLS))["history"]
        assert all("***" in row["error_log"] for row in rows)
        told = written(started)
        assert THEIRS not in told
        told += "".join(answers)
        assert "***" in told
        for secret in (VARIABLE, FILE, HEADER, PASSWORD, "dXNlcjpzM2NyZXQ"):
            assert secret not in told


@pytest.mark.parametrize("source", ['api_key_env = "OF_UPSTREAM"', 'api_key_file = "nowhere"'])
def test_one_that_is_missing_is_an_error_at_the_start(tmp_path: Path, source: str) -> None:
    """One line that names the field, and exit code 2."""
    models = tmp_path / "models.toml"
    models.write_text(f'[a]\nupstream = "http://host:1/x"\n{source}\n')
    with system(tmp_path) as started, pytest.raises(AssertionError):
        started.start_gateway(INVOKER_MODELS_FILE=str(models))
    (gateway,) = started.processes
    assert gateway.exit_code == 2
    (line,) = gateway.stderr.splitlines()
    assert f"[a] {source.partition(' ')[0]}: " in line
