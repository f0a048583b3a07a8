"""Alive, and ready for calls. A gateway that can't reach the sidecar still serves: it is degraded."""

from typing import Literal

import msgspec
from aiohttp import web

from invoker.front.worker import WORKER


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """`degraded`: calls are served, but the reasons need a look. `not_ready`: send no calls."""

    status: Literal["ready", "degraded", "not_ready"]
    reasons: list[str]


async def healthz(_request: web.Request) -> web.Response:
    return _json(Health())


async def readyz(request: web.Request) -> web.Response:
    worker = request.app[WORKER]
    if worker.answering.closing:
        return _json(Readiness("not_ready", ["draining: the gateway is shutting down"]), status=503)
    reasons = [*worker.reasons()]
    return _json(Readiness("degraded" if reasons else "ready", reasons))


def _json(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
