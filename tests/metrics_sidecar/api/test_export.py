"""`GET /metrics/export`: what is asked of the reader, and what becomes of its bytes and its failures."""

from typing import Any

import aiohttp
import pytest

import metrics_sidecar.api.export as export_api
from metrics_sidecar.history.exports import Export, ExportsBusyError, Format
from metrics_sidecar.history.queries import HistoryFilter, StoreError, Term
from tests.metrics_sidecar.api.conftest import Client, FakeReader

IDENTITY = {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("format_", "content_type"),
    [
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("ndjson", "application/x-ndjson"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
async def test_an_export_is_a_file_to_be_saved(
    client: Client, reader: FakeReader, format_: Format, content_type: str
) -> None:
    """With its type and a name; kept by no cache."""
    response = await client.get("/metrics/export", params={"format": format_}, headers=IDENTITY)
    assert (response.status, await response.read()) == (200, b"one\ntwo\n")
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Content-Disposition"] == f'attachment; filename="invocations-20240115T103130Z.{format_}"'
    assert (response.headers["Cache-Control"], response.headers["Vary"]) == ("no-store", "Accept-Encoding")
    assert reader.exporter.asked == [Export(format_)]


async def test_csv_for_excel_begins_with_a_byte_order_mark(client: Client, reader: FakeReader) -> None:
    """By `bom=1`; no other format has one."""
    await client.get("/metrics/export", params={"format": "csv", "bom": "1"}, headers=IDENTITY)
    await client.get("/metrics/export", params={"format": "csv", "bom": "0"}, headers=IDENTITY)
    assert reader.exporter.asked == [Export("csv", bom=True), Export("csv")]
    refused = await client.get("/metrics/export", params={"format": "ndjson", "bom": "1"})
    assert (refused.status, (await refused.json())["detail"]) == (
        400,
        "bom is '1'; allowed: with format=csv, not ndjson.",
    )


async def test_the_filters_are_those_of_the_history(client: Client, reader: FakeReader) -> None:
    """NDJSON, where no format is asked for."""
    params = {"model_id": "a*", "status": "failure", "since": "1", "until": "2", "error_contains": "x"}
    await client.get("/metrics/export", params=params, headers=IDENTITY)
    wanted = HistoryFilter(
        prefixes=("a",),
        status="failure",
        since_us=1_000_000,
        until_us=2_000_000,
        terms=(Term("error_log", "contains", "x"),),
    )
    assert reader.exporter.asked == [Export("ndjson", wanted)]


@pytest.mark.parametrize(("format_", "compressed"), [("csv", True), ("ndjson", True), ("parquet", False)])
async def test_text_is_compressed_where_that_is_allowed(
    client: Client, reader: FakeReader, format_: Format, compressed: bool
) -> None:
    """Parquet is compressed itself."""
    client.session._auto_decompress = False
    response = await client.get("/metrics/export", params={"format": format_}, headers={"Accept-Encoding": "gzip"})
    assert response.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert reader.exporter.asked == [Export(format_, gzip=compressed)]


@pytest.mark.parametrize(
    ("params", "parameter"), [({"format": "xml"}, "format"), ({"limit": "1"}, "limit"), ({"since": "x"}, "since")]
)
async def test_other_parameters_are_refused(client: Client, params: dict[str, str], parameter: str) -> None:
    """Pages are the history's: an export has no limit, offset, cursor or order."""
    response = await client.get("/metrics/export", params=params)
    assert (response.status, (await response.json())["parameter"]) == (400, parameter)


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (ExportsBusyError("2 exports are running"), "2 exports are running; try again later."),
        (StoreError("disk I/O error"), "The history can't be read just now: disk I/O error"),
    ],
)
async def test_a_failure_before_the_first_byte_is_a_problem(
    client: Client, reader: FakeReader, failure: Exception, detail: str
) -> None:
    """503, with a time to try it again."""
    reader.exporter.chunks = []
    if isinstance(failure, ExportsBusyError):
        reader.exporter.refusal = failure
    else:
        reader.exporter.failure = failure
    response = await client.get("/metrics/export")
    assert (response.status, (await response.json())["detail"]) == (503, detail)
    assert int(response.headers["Retry-After"]) > 0


async def test_a_failure_after_it_breaks_the_answer_off(client: Client, reader: FakeReader) -> None:
    """Nobody may take a part for the whole."""
    reader.exporter.failure = StoreError("disk I/O error")
    response = await client.get("/metrics/export", headers=IDENTITY)
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()


async def test_parquet_without_its_package_is_a_problem(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """501, which says what to install."""
    monkeypatch.setattr(export_api, "has_parquet", lambda: False)
    response = await client.get("/metrics/export", params={"format": "parquet"})
    problem: dict[str, Any] = await response.json()
    assert response.status == 501
    assert problem["detail"] == "Parquet needs pyarrow: pip install 'invocation-gateway[parquet]'"


async def test_a_caller_that_takes_nothing_is_disconnected(
    client: Client, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep one of the few places for ever."""
    monkeypatch.setattr(export_api, "STALL_TIMEOUT_S", 0.1)
    reader.exporter.chunks = [bytes(2**20)] * 100
    response = await client.get("/metrics/export", headers=IDENTITY)
    transport = response.connection.transport if response.connection else None
    assert transport is not None
    transport.pause_reading()
    await reader.exporter.ended.wait()
    transport.resume_reading()
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
