"""What clients of the dialects ask for and is not served."""

import pytest

from tests.invoker.conftest import Gateway

VERSION = {"anthropic_version": "2023-06-01"}
UPGRADE = {"Upgrade": "websocket", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("GET", "/v1/chat/completions", {}, 405, "invalid_request_error"),
        ("PUT", "/v1/embeddings?x=1", {}, 405, "invalid_request_error"),
        ("GET", "/v1/files", {}, 404, "not_found_error"),
        ("DELETE", "/v1/files/file-1", {}, 404, "not_found_error"),
        ("DELETE", "/v1/models/m", {}, 405, "invalid_request_error"),
        ("POST", "/v1/models", {}, 405, "invalid_request_error"),
        ("GET", "/v1/realtime?model=m", {}, 404, "not_found_error"),
        ("GET", "/v1/realtime?model=m", UPGRADE, 426, "invalid_request_error"),
        ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
        ("GET", "/v1/messages/batches/b", {}, 404, "not_found_error"),
        ("GET", "/v1/files", VERSION, 404, "not_found_error"),
        ("POST", "/v1/messages/batches", {}, 400, "invalid_request_error"),
    ],
)
async def test_it_is_refused_in_the_dialects_shape(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    """With the status that its clients expect; it is counted, and nobody is called."""
    reply = await gateway.request(method, path, b"{}" if method == "POST" else b"", x_request_id="r-1", **headers)
    assert (reply.status, reply.media_type, reply.json["error"]["type"]) == (status, "application/json", kind)
    assert reply.json["error"]["message"]
    assert reply.json.get("type") == ("error" if path.startswith("/v1/messages") or headers == VERSION else None)
    assert reply.headers["x-request-id"] == "r-1"
    assert reply.headers.get("Allow") == (None if status != 405 else "GET, HEAD" if "models" in path else "POST")
    assert reply.headers.get("Upgrade") == ("HTTP/1.1" if status == 426 else None)
    assert gateway.rejected.total() == 1
    assert gateway.upstream.posts == []
    assert gateway.journal.records == []


async def test_what_follows_an_upgrade_is_not_read(gateway: Gateway) -> None:
    """Who asks for one may have begun to speak WebSocket."""
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in UPGRADE.items())
    request = f"GET /v1/realtime HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\n{head}\r\n".encode()
    reply = await gateway.raw(request + b"\x81\x05hello")
    assert (reply.status, reply.headers["Connection"]) == (426, "close")
