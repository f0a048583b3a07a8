"""What a dialect's clients may ask for and is not served here, said in the dialect's shape."""

import re
from collections.abc import Container

from aiohttp import hdrs, web

from invoker.front.responses import given_request_id, response_of
from invoker.front.worker import WORKER
from invoker.protocols.base import BadRequestError
from invoker.protocols.kserve import BEGIN, is_infer

_ONLY_ASKED = re.compile("/v1/models(?:/.+)?|/v2(?:/health/(?:live|ready))?|/v2/models/.+")


def is_anthropics(request: web.Request) -> bool:
    """Both dialects have some paths in common; Anthropic's clients all send this."""
    return "anthropic-version" in request.headers


def dialect_path(request: web.Request) -> str:
    """A path of the dialect that a request is in."""
    if request.path == "/v2" or request.path.startswith("/v2/"):
        return BEGIN
    return "/v1/messages" if is_anthropics(request) else request.path


async def unserved(request: web.Request) -> web.Response:
    """404; 405 if it is a call but for its method; 426 for a WebSocket."""
    answering, path = request.app[WORKER].answering, request.path
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        message = f"No WebSocket is served here, and so not {path[:128]!r}"
        error = BadRequestError(426, "not_found", message, b"Upgrade: HTTP/1.1\r\n")
    elif allowed := _allowed(request, answering.paths):
        message = f"{request.method} is not allowed for {path[:128]!r}; {allowed} is"
        error = BadRequestError(405, "method_not_allowed", message, f"Allow: {allowed}\r\n".encode())
    else:
        error = BadRequestError(404, "not_found", f"{request.method} {path[:128]!r} is not served here")
    response = response_of(answering.refusal(error, dialect_path(request), given_request_id(request)))
    if error.status == 426:
        response.force_close()  # who asked may have begun to speak otherwise
    return response


def _allowed(request: web.Request, paths: Container[str]) -> str:
    """Methods for this path, if there are any."""
    if request.path in paths or is_infer(request.rel_url.raw_path):
        return "POST"
    return "GET, HEAD" if _ONLY_ASKED.fullmatch(request.path) else ""
