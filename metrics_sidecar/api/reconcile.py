"""`GET /metrics/reconcile`: whether rows, totals, sequences and counters agree."""

from aiohttp import web

from metrics_sidecar.api.answers import json_answer, store_problems
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.reconcile import Checked, Missing, MissingRange, Reconciliation
from metrics_sidecar.parameters.decoding import NoParameters, decode_query

EXAMPLE = Reconciliation(
    consistent=True,
    checked=Checked(
        rows=100, rows_removed=0, totals=100, sequences=100, models=1, producers=1, commits=7, counters=True
    ),
    difference_count=0,
    differences=[],
    missing=Missing(3, 1, [MissingRange("0123456789abcdef0123456789abcdef", 41, 43)]),
)


async def reconcile(request: web.Request) -> web.Response:
    decode_query(request.query.items(), NoParameters)
    with store_problems():
        return json_answer(await request.app[SIDECAR].reconcile())
