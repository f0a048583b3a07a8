"""`GET /upstreams`: what all workers know of the endpoints."""

import msgspec
from aiohttp import web

from invoker.front.worker import WORKER


async def upstreams(request: web.Request) -> web.Response:
    answer = await request.app[WORKER].upstreams()
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers=headers)
