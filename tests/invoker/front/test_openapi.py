"""The gateway behaves as its OpenAPI document says, whatever is asked of it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from invoker.front.openapi import DOCUMENT
from invoker.front.openapi_dialects import FORM
from tests.processes import System, get, system

schema = schemathesis.openapi.from_dict(DOCUMENT)

CHECKED_HERE = [not_a_server_error, positive_data_acceptance]
UPSTREAM_FAILED = "upstream answered "
REFUSALS_BEYOND_THE_SCHEMA = ("The body is not valid JSON", "$.worklet_input.model_id: '__overflow__' is reserved")
"""A lone surrogate, nesting without end, a reserved name: no JSON schema can say these."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("openapi")) as started:
        started.start_mock()
        mock = started.upstream.removesuffix("/invoke")
        started.start_gateway(INVOKER_OPENAI_URL=f"{mock}/v1", INVOKER_ANTHROPIC_URL=mock, INVOKER_KSERVE_URL=mock)
        yield started


@schema.parametrize()
@settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_gateway_conforms_to_its_document(case: Any, gateway: System) -> None:
    """Every documented request is answered as documented, every other one refused, and 502 only if the
    upstream failed."""
    response = case.call(base_url=gateway.gateway_url)
    # In a form whatever a field says is text.
    unchecked = [*CHECKED_HERE, negative_data_rejection] if case.media_type == FORM else CHECKED_HERE
    case.validate_response(response, excluded_checks=unchecked)
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if case.path.startswith(("/v1/", "/v2/models/")):  # what the upstream says to what goes on to it is its own
        assert response.status_code not in ((405, 413, 415, 500, 502, 504) if is_positive else (500, 502, 504))
    elif response.status_code >= 500:
        assert response.status_code == 502
        assert response.json()["error_log"].startswith(UPSTREAM_FAILED)
    elif is_positive and response.status_code >= 400:
        assert response.json()["error_log"].startswith(REFUSALS_BEYOND_THE_SCHEMA)


def test_the_document_is_the_one_that_is_served(gateway: System) -> None:
    """`/openapi.json` of the process is what the requests were made from."""
    assert get(f"{gateway.gateway_url}/openapi.json") == DOCUMENT
