"""How yardsticks say where they listen: one line of JSON, as our own processes do."""

import json
import socket
import sys


def listen() -> socket.socket:
    """A listening socket on a free port."""
    return socket.create_server(("127.0.0.1", 0), backlog=4096)


def announce(server: socket.socket) -> None:
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    print(json.dumps({"event": "listening", "url": url}), file=sys.stderr, flush=True)
