"""`GET /metrics`: what Prometheus scrapes, as text 0.0.4 or OpenMetrics 1.0.0."""

import asyncio
import gzip

from aiohttp import web

from metrics_sidecar.api import EXPOSITION, METRICS, SNAPSHOT
from metrics_sidecar.api.negotiation import accepts_gzip, wants_openmetrics

# Prometheus 3 refuses a scrape whose Content-Type it doesn't know.
CONTENT_TYPES = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
GZIP_LEVEL = 1  # ten times faster than 9, a fifth larger

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
    openmetrics = wants_openmetrics(_header(request, "Accept"))
    totals, active = request.app[SNAPSHOT]()
    models = await request.app[EXPOSITION].render(totals, active, openmetrics)
    body = models + request.app[METRICS].render(openmetrics)
    headers = {"Content-Type": CONTENT_TYPES[openmetrics], "Vary": "Accept, Accept-Encoding"}
    if accepts_gzip(_header(request, "Accept-Encoding")):
        body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def _header(request: web.Request, name: str) -> str:
    """A header that may be sent in several lines."""
    return ",".join(request.headers.getall(name, ()))
