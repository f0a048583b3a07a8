"""A webhook receiver for Alertmanager, at the port of this machine that the shipped webhook_url names."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.stack.compose import ROOT

WEBHOOK_URL = (ROOT / "deploy" / "alertmanager" / "webhook_url").read_text().strip()
Alert = dict[str, Any]


@contextlib.contextmanager
def received_alerts() -> Iterator[list[Alert]]:
    """The alerts of all notifications so far, while it listens."""
    alerts: list[Alert] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    # All addresses: containers come by the bridge. We are in a network of our own.
    server = ThreadingHTTPServer(("", urlsplit(WEBHOOK_URL).port or 80), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield alerts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
