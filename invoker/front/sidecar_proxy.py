"""`/metrics` and `/metrics/*` asked of the gateway are answered by the sidecar."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from rfc9457 import Problem
from yarl import URL

from invoker.front.worker import WORKER

SIDECAR_SESSION = web.AppKey("sidecar_session", aiohttp.ClientSession)

SIDECAR_UNREACHABLE = "urn:problem:sidecar-unreachable"
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=30.0)
PASSED_ON_REQUEST = ("Accept", "Accept-Encoding", "If-None-Match", "Range")
KEPT_BY_CONNECTION = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "date", "server")
)


async def sidecar_session(app: web.Application) -> AsyncIterator[None]:
    """The client for the sidecar; bodies pass through as they are, compressed ones too."""
    async with aiohttp.ClientSession(
        timeout=TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        app[SIDECAR_SESSION] = session
        yield


async def forward_to_sidecar(request: web.Request) -> web.StreamResponse:
    """The sidecar's answer to the same path and query; 502 if it gives none."""
    if any(segment in (".", "..") for segment in request.path.split("/")):
        raise web.HTTPNotFound  # whoever resolves the dots would leave /metrics
    # `rel_url`, because `raw_path` may be a whole URL with a host of the caller's choice.
    url = URL(request.app[WORKER].sidecar_url.rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
    headers = {name: request.headers[name] for name in PASSED_ON_REQUEST if name in request.headers}
    headers.setdefault("Accept-Encoding", "identity")
    session = request.app[SIDECAR_SESSION]
    try:
        answer = await session.request(request.method, url, headers=headers, allow_redirects=False)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Problem("Bad Gateway", SIDECAR_UNREACHABLE, f"The sidecar gave no answer: {error}", 502) from None
    async with answer:
        return await _pass_on(request, answer)


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in KEPT_BY_CONNECTION:
            response.headers.add(name, value)
    await response.prepare(request)
    try:
        async for part in answer.content.iter_any():
            await response.write(part)
    except (aiohttp.ClientError, TimeoutError):  # who asked sees by the missing end that it is not all
        if request.transport is not None:
            request.transport.close()
        raise ConnectionError from None
    await response.write_eof()
    return response
