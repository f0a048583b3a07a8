"""`GET /healthz` and `GET /readyz`: alive; ready, with reasons when it is not."""

from typing import Literal

import msgspec
from aiohttp import web

from metrics_sidecar.api.answers import json_answer
from metrics_sidecar.api.sidecar import SIDECAR


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


async def healthz(_request: web.Request) -> web.Response:
    return json_answer(Health())


async def readyz(request: web.Request) -> web.Response:
    readiness = request.app[SIDECAR].readiness()
    return json_answer(readiness, status=503 if readiness.status == "not_ready" else 200)
