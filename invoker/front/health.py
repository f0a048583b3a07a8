"""Alive, and ready for calls. A gateway that can't reach the sidecar still serves: it is degraded."""

from collections.abc import Callable
from typing import Literal

import msgspec
from aiohttp import web


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """`degraded`: calls are served, but the reasons need a look. `not_ready`: send no calls."""

    status: Literal["ready", "degraded", "not_ready"]
    reasons: list[str]


READINESS: web.AppKey[Callable[[], Readiness]] = web.AppKey("readiness", Callable)  # type: ignore[arg-type]


async def healthz(_request: web.Request) -> web.Response:
    return _json(Health())


async def readyz(request: web.Request) -> web.Response:
    readiness = request.app[READINESS]()
    return _json(readiness, status=503 if readiness.status == "not_ready" else 200)


def _json(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
