"""`GET /metrics`: what Prometheus scrapes, as text 0.0.4 or OpenMetrics 1.0.0."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from metrics_sidecar.api.answers import GZIP_LEVEL, takes_gzip
from metrics_sidecar.api.negotiation import wants_openmetrics
from metrics_sidecar.api.sidecar import SIDECAR

# Prometheus 3 refuses a scrape whose Content-Type it doesn't know.
CONTENT_TYPES = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
CHUNK_BYTES = 256 * 1024

EXAMPLES = {
    "text/plain": """\
# HELP model_invocations_total Total number of model invocations
# TYPE model_invocations_total counter
model_invocations_total{model_id="gpt-3.5",status="success"} 95
model_invocations_total{model_id="gpt-3.5",status="failure"} 5
""",
    "application/openmetrics-text": """\
# HELP model_invocations Total number of model invocations
# TYPE model_invocations counter
model_invocations_total{model_id="gpt-3.5",status="success"} 95
model_invocations_total{model_id="gpt-3.5",status="failure"} 5
# EOF
""",
}


async def metrics(request: web.Request) -> web.Response:
    """With thousands of models these are megabytes: no step holds the event loop for all of them."""
    openmetrics = wants_openmetrics(",".join(request.headers.getall("Accept", ())))
    sidecar = request.app[SIDECAR]
    sidecar.metrics.disk = await asyncio.to_thread(sidecar.measure_disk)
    parts = await sidecar.exposition.render(sidecar.snapshot(), openmetrics)
    parts += await sidecar.family_samples.render(sidecar.families(), openmetrics)
    parts.append(sidecar.metrics.render(openmetrics))
    headers = {"Content-Type": CONTENT_TYPES[openmetrics], "Vary": "Accept, Accept-Encoding"}
    if takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=await compress(_chunks(parts)), headers=headers)
    headers["Content-Length"] = str(sum(map(len, parts)))
    return web.Response(body=_chunks(parts), headers=headers)


async def compress(chunks: AsyncIterator[bytes]) -> bytes:
    """All chunks as one gzip file. Here, and not on a thread: on one core that would hold up the event loop for
    longer than a chunk does."""
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS + 16)  # 16: with gzip's header
    compressed = [compressor.compress(chunk) async for chunk in chunks]
    return b"".join([*compressed, compressor.flush()])


async def _chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The parts in chunks that each take less than a millisecond; after each, others have their turn."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
            await asyncio.sleep(0)
    yield b"".join(held)
