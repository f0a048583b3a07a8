"""Which pages of other origins may call an API from a browser (CORS, in the Fetch standard); none, unless it is set.

No answer allows credentials: an origin that is allowed may send what it has itself, and not what the browser has kept.
"""

import re
from collections.abc import Set as AbstractSet

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from shared.origins import ANY

METHODS = "GET, HEAD, POST"
PREFLIGHT_S = 600
"""So long may a browser go by what a preflight said."""

_HEADERS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z, -]{0,1000}")


def allow_origins(app: web.Application, allowed: str) -> None:
    """Have the application answer preflights of these origins, and say in each answer that they may read it."""
    if not allowed:
        return
    origins = frozenset(allowed.split(","))

    @web.middleware
    async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        method = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if request.method != hdrs.METH_OPTIONS or method is None or not is_allowed(request, origins):
            return await handler(request)
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: asked if _HEADERS.fullmatch(asked) else "",
                hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_S),
            },
        )

    async def say_who_may_read(request: web.Request, response: web.StreamResponse) -> None:
        if ANY not in origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)  # or a cache would give one origin's answer to another
        if is_allowed(request, origins):
            origin = ANY if ANY in origins else request.headers[hdrs.ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ANY

    app.middlewares.insert(0, answer_preflight)
    app.on_response_prepare.append(say_who_may_read)


def is_allowed(request: web.Request, origins: AbstractSet[str]) -> bool:
    """Whether it comes from a page of one of these."""
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and (ANY in origins or origin.lower() in origins)
