"""Programs that serve HTTP and a receiver of notifications: each on a free port, and gone at the end."""

import contextlib
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import debian
from tests.deploy.processes import free_port
from tests.processes import eventually, get_text

START_TIMEOUT_S = 30.0

FEATURES = "exemplar-storage,created-timestamp-zero-ingestion"
"""As the stack has them."""

DEBIANS_FOLDER = b"/usr/share/prometheus/alertmanager"
HERE = b"/proc/self/cwd" + b"/." * 10
"""As long as `DEBIANS_FOLDER`: wherever the program is started."""


@contextlib.contextmanager
def served(command: Sequence[str | Path], port: int, log: Path, cwd: Path) -> Iterator[str]:
    """Its URL, once it is ready."""
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        program = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=subprocess.STDOUT, cwd=cwd
        )

    def is_ready() -> bool:
        assert program.poll() is None, log.read_text()
        try:
            return bool(get_text(f"{url}/-/ready"))
        except OSError:
            return False

    try:
        eventually(is_ready, bool, START_TIMEOUT_S)
        yield url
    finally:
        program.kill()
        program.wait()


@contextlib.contextmanager
def prometheus(config: Path, port: int, features: str = FEATURES) -> Iterator[str]:
    """Prometheus as the stack starts it, with its data beside its configuration."""
    directory = config.parent
    command: list[str | Path] = [
        debian.prometheus(),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--enable-feature={features}",
    ]
    with served(command, port, directory / "prometheus.log", directory) as url:
        yield url


@contextlib.contextmanager
def alertmanager(config: Path, port: int) -> Iterator[str]:
    """Alertmanager with its data beside its configuration.

    Debian's looks for its templates where the package is installed, and knows no setting for it; so a copy is made that
    looks in the directory that it is started in.
    """
    directory = config.parent
    program = directory / "alertmanager"
    program.write_bytes(debian.alertmanager().read_bytes().replace(DEBIANS_FOLDER, HERE))
    program.chmod(0o755)
    templates = debian.alertmanager().parents[2] / DEBIANS_FOLDER.decode().lstrip("/")
    command: list[str | Path] = [
        program,
        f"--config.file={config}",
        f"--storage.path={directory / 'alerts'}",
        "--cluster.listen-address=",
    ]
    with served(command, port, directory / "alertmanager.log", templates) as url:
        yield url


class Webhook:
    """What Alertmanager has sent."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{free_port()}/"

    def alerts(self, alertname: str, since: int = 0) -> set[str]:
        """The models of all alerts of that name that fired, in notifications from that one on; "" for one that is of
        no model."""
        alerts = [alert for notification in self.notifications[since:] for alert in notification["alerts"]]
        fired = [alert for alert in alerts if alert["status"] == "firing" and alert["labels"]["alertname"] == alertname]
        return {alert["labels"].get("model_id", "") for alert in fired}


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """A receiver."""
    received = Webhook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.notifications.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
