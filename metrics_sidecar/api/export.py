"""`GET /metrics/export`: all invocations that match, as one file."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Literal

from aiohttp import hdrs, web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import store_problems, takes_gzip
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.files.formats import COMPRESSED_ITSELF, MEDIA_TYPES, PARQUET_MISSING, has_parquet, make_encoder
from metrics_sidecar.files.line import to_columns
from metrics_sidecar.history.exports import Export, ExportsBusyError, Format
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.parameters.decoding import decode_query
from metrics_sidecar.parameters.filters import FilterParameters, to_filter
from metrics_sidecar.sqlite.columns import COLUMNS, MODEL_ID
from metrics_sidecar.sqlite.export import Slice
from shared import logs
from shared.clock import format_timestamp
from shared.errors import status_problem
from shared.problems import InvalidParameterError
from shared.record import FIELDS

STALL_TIMEOUT_S = 60.0
"""How long a caller may take none of its answer: it holds one of the few places."""
RETRY_AFTER_S = 10

log = logs.get("export")

TEXT_FORMATS: tuple[Format, ...] = ("csv", "ndjson")
CONTENT_TYPES: dict[Format, str] = {**MEDIA_TYPES, "csv": "text/csv; charset=utf-8; header=present"}


class ExportParameters(FilterParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be exported: the filters of the history, and how."""

    format: Annotated[Format, Meta(description="Of the file.")] = "ndjson"
    bom: (
        Annotated[Literal["0", "1"], Meta(description="1: CSV begins with a byte order mark, for Excel.")] | UnsetType
    ) = UNSET


_ROW = {"id": 1, "model": 1, **{field.name: field.told.example for field in FIELDS}}
_SLICE = Slice([tuple(_ROW[name] for name in COLUMNS.names)], {1: _ROW[MODEL_ID]}, 1.0)
_CELLS = to_columns(_SLICE, "9f1c0e5b7a3d4c2e8b6f0a1d2c3e4f50")
EXAMPLES = {MEDIA_TYPES[format_]: make_encoder(format_).encode(_CELLS).decode() for format_ in TEXT_FORMATS}


async def export(request: web.Request) -> web.StreamResponse:
    """Sent as it is read. If reading fails in the middle, the connection is closed before the end of the answer."""
    parameters = decode_query(request.query.items(), ExportParameters)
    if parameters.format == "parquet" and not has_parquet():
        raise status_problem(HTTPStatus.NOT_IMPLEMENTED, PARQUET_MISSING)
    if parameters.bom == "1" and parameters.format != "csv":
        raise InvalidParameterError("bom", "1", f"with format=csv, not {parameters.format}")
    may_compress = parameters.format not in COMPRESSED_ITSELF
    wanted = Export(
        parameters.format, to_filter(parameters), may_compress and takes_gzip(request), parameters.bom == "1"
    )
    response = _response(wanted, request.app[SIDECAR].clock.now_us())
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    try:
        async with request.app[SIDECAR].reader.rows(wanted) as chunks:
            await _send(request, response, chunks)
    except ExportsBusyError as error:
        raise status_problem(503, f"{error}; try again later.", {"Retry-After": str(RETRY_AFTER_S)}) from None
    return response


def _response(wanted: Export, now_us: int) -> web.StreamResponse:
    time = format_timestamp(now_us - now_us % 1_000_000).replace("-", "").replace(":", "")
    headers = {
        hdrs.CONTENT_TYPE: CONTENT_TYPES[wanted.format],
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="invocations-{time}.{wanted.format}"',
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    if wanted.gzip:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.StreamResponse(headers=headers)


async def _send(request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    with store_problems():  # only as long as nothing is sent
        chunk = await anext(chunks, b"")
    await response.prepare(request)
    try:
        while chunk:
            async with asyncio.timeout(STALL_TIMEOUT_S):
                await response.write(chunk)
            chunk = await anext(chunks, b"")
        await response.write_eof()
    except (TimeoutError, StoreError) as error:
        log.warning("export.broken_off", reason=str(error) or f"its caller took nothing for {STALL_TIMEOUT_S:g} s")
        if request.transport is not None:
            request.transport.abort()
