"""The shortest honest aiohttp reverse proxy: one session, uvloop, and no metrics at all."""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

from tests.bench.yardsticks.serving import announce, listen


async def main(upstream: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def invoke(request: web.Request) -> web.Response:
            body = await request.read()
            async with session.post(f"{upstream}/invoke", data=body, headers=JSON) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers=JSON)

        async def stream(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            async with session.post(f"{upstream}{request.path}", data=body, headers=JSON) as answer:
                response = web.StreamResponse(
                    status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
                )
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=2**30)
        app.router.add_post("/invoke", invoke)
        app.router.add_post("/v1/chat/completions", stream)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        server = listen()
        await web.SockSite(runner, server).start()
        announce(server)
        await asyncio.Event().wait()


JSON = {"Content-Type": "application/json"}

if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
