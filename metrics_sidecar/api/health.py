"""`GET /healthz` and `GET /readyz`: alive; ready, with reasons when it is not."""

from collections.abc import Callable
from typing import Literal

import msgspec
from aiohttp import web

from metrics_sidecar.api.answers import json_answer


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """`not_ready`: no records are taken in, or none committed. `degraded`: they are, but the reasons need a look."""

    status: Literal["ready", "degraded", "not_ready"]
    reasons: list[str]


READINESS: web.AppKey[Callable[[], Readiness]] = web.AppKey("readiness", Callable)  # type: ignore[arg-type]


async def healthz(_request: web.Request) -> web.Response:
    return json_answer(Health())


async def readyz(request: web.Request) -> web.Response:
    readiness = request.app[READINESS]()
    return json_answer(readiness, status=503 if readiness.status == "not_ready" else 200)
