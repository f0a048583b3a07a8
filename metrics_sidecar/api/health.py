"""`GET /healthz` and `GET /readyz`: alive; ready, with reasons when it is not."""

from typing import Literal

import msgspec
from aiohttp import web

from metrics_sidecar.api import READINESS
from metrics_sidecar.api.answers import json_answer


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """Whether records are taken in and committed; if not, why."""

    status: Literal["ready", "not_ready"]
    reasons: list[str]


async def healthz(_request: web.Request) -> web.Response:
    return json_answer(Health())


async def readyz(request: web.Request) -> web.Response:
    reasons = request.app[READINESS]()
    if reasons:
        return json_answer(Readiness("not_ready", reasons), status=503)
    return json_answer(Readiness("ready", []))
