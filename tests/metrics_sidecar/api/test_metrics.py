"""`GET /metrics`: formats, compression and what is in it."""

import gzip

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from metrics_sidecar.api.metrics import CHUNK_BYTES
from metrics_sidecar.api.negotiation import accepts_gzip, wants_openmetrics
from tests.metrics_sidecar.api.conftest import Client, FakeReader, totals_of

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# As Prometheus 3 and 2 send it.
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_3, True),
        (PROMETHEUS_2, True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/*", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=9.9.9", False),
        ("application/openmetrics-text;version=new", False),
        ("application/openmetrics-text;version=0.0.1,text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0,*/*", False),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.2", False),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.1", True),
        ("application/openmetrics-text,text/plain", True),
        ("application/openmetrics-text;q=high", False),
        ("text/plain;q=0,*/*;q=0.1", True),
        (";;,=,q", False),
    ],
)
def test_openmetrics_is_sent_where_it_is_preferred(accept: str, expected: bool) -> None:
    """By quality, decided by the most specific range; never to those who accept just anything."""
    assert wants_openmetrics(accept) == expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.000", False),
        ("*;q=0", False),
    ],
)
def test_compression_is_used_where_it_is_allowed(accept_encoding: str, expected: bool) -> None:
    """A quality of 0 forbids it; `*` stands for what isn't named."""
    assert accepts_gzip(accept_encoding) == expected


@pytest.mark.parametrize(("accept", "content_type"), [(PROMETHEUS_3, OPENMETRICS), ("text/plain", TEXT), ("*/*", TEXT)])
async def test_the_content_type_says_which_format_it_is(
    client: Client, reader: FakeReader, accept: str, content_type: str
) -> None:
    """Prometheus 3 refuses any other; the body parses as what it is said to be."""
    reader.totals = {"gpt-3.5": totals_of(150_000, 50_000, failures=1)}
    response = await client.get("/metrics", headers={"Accept": accept})
    body = await response.text()
    parse = parse_openmetrics if content_type == OPENMETRICS else parse_text
    samples = {
        (sample.name, *sample.labels.values()): sample.value for family in parse(body) for sample in family.samples
    }
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert body.endswith("# EOF\n") == (content_type == OPENMETRICS)
    assert samples["model_invocations_total", "gpt-3.5", "success"] == 1
    assert samples["model_invocations_total", "starting", "success"] == 0
    assert samples["model_active_invocations", "starting"] == 1
    assert ("model_success_rate", "starting") not in samples
    assert samples["sidecar_producers_connected",] == 0


async def test_a_compressed_body_is_the_same_text(client: Client, reader: FakeReader) -> None:
    """The sizes differ, the metrics do not, and caches are told what the answer depends on. So much of it that
    it is sent in several chunks."""
    reader.totals = {f"model-{number}": totals_of(number) for number in range(500)}
    client.session._auto_decompress = False
    response = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    body = await plain.read()
    assert int(plain.headers["Content-Length"]) == len(body) > CHUNK_BYTES
    models = body.partition(b"# HELP process")[0]
    assert gzip.decompress(await response.read()).startswith(models)


async def test_a_head_has_no_body(client: Client) -> None:
    """And says how long the body would be."""
    response = await client.head("/metrics", headers={"Accept-Encoding": "identity"})
    assert (response.status, await response.read()) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0
    assert (await client.get("/healthz")).status == 200


async def test_unknown_parameters_are_ignored(client: Client) -> None:
    """Scrapers add their own."""
    assert (await client.get("/metrics", params={"name[]": "up"})).status == 200
