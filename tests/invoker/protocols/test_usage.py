"""What an upstream's word about tokens comes to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import Usage
from invoker.protocols.usage import (
    MAX_REPORT_BYTES,
    MAX_TOKENS,
    anthropic_usage,
    find_report,
    last_report,
    openai_usage,
)


def chat(prompt: Any, completion: Any, cached: Any = None, reasoning: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        **more,
    }


RESPONSES = {
    "input_tokens": 75,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 1186,
    "output_tokens_details": {"reasoning_tokens": 1024},
    "total_tokens": 1261,
}


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (chat(19, 10, 4, 7, total_tokens=29), Usage(19, 4, 10, 7)),
        (chat(0, 0, 0, 0, total_tokens=0), Usage(0, 0, 0, 0)),
        (RESPONSES, Usage(75, 5, 1186, 1024)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        ({"prompt_tokens": 8, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(8, None, 2)),
        # Counted beside the output, as the total says; or else within it.
        (chat(12, 1, 0, 386, total_tokens=399), Usage(12, 0, 387, 386)),
        (chat(12, 400, 0, 386, total_tokens=412), Usage(12, 0, 400, 386)),
        (chat(12, 400, 0, 386), Usage(12, 0, 400, 386)),
        (chat(12, 1, 0, 386), Usage(12, 0, 1, None)),
        # A part is no more than its whole.
        (chat(3, 2, 4), Usage(3, None, 2)),
        ({"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}, Usage(None, None, 2)),
        # No counts.
        (chat(-1, 2), Usage(None, None, 2)),
        (chat(1.0, 2), Usage(None, None, 2)),
        (chat("1", 2), Usage(None, None, 2)),
        (chat(True, 2), Usage(None, None, 2)),
        (chat(MAX_TOKENS, 2), Usage(MAX_TOKENS, None, 2)),
        (chat(MAX_TOKENS + 1, 2), Usage(None, None, 2)),
        (chat(10**400, 2), Usage(None, None, 2)),
        (chat(float("1e300"), 2), Usage(None, None, 2)),
        (chat([1], {"a": 2}), None),
        (chat(5, 2, -3, 1.5), Usage(5, None, 2)),
        (chat(5, 2) | {"prompt_tokens_details": 5, "completion_tokens_details": [1]}, Usage(5, None, 2)),
        (None, None),
        ({}, None),
        ([], None),
        ("12", None),
        ({"total_tokens": 3}, None),
        ({"type": "duration", "seconds": 9}, None),
    ],
)
def test_openai(said: Any, usage: Usage | None) -> None:
    """Inputs hold what came from a cache, outputs what was reasoning; what is no count is not known."""
    assert openai_usage(json.dumps(said).encode()) == usage


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({}, {"input_tokens": 15, "output_tokens": 9}, Usage(15, None, 9)),
        (
            {},
            {
                "input_tokens": 5,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 100,
                "output_tokens": 9,
            },
            Usage(125, 100, 9),
        ),
        ({}, {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 9}, Usage(5, None, 9)),
        ({"input_tokens": 15, "output_tokens": 1}, {"output_tokens": 9}, Usage(15, None, 9)),
        ({"input_tokens": 15, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 9}, Usage(15, None, 9)),
        ({"input_tokens": 15, "output_tokens": 1}, {"input_tokens": None, "output_tokens": 9}, Usage(15, None, 9)),
        ({"input_tokens": 15, "output_tokens": 1}, {}, Usage(15, None, 1)),
        (
            {"input_tokens": 0, "output_tokens": 0},
            {"input_tokens": 4522, "cache_creation_input_tokens": 4511, "output_tokens": 5},
            Usage(9033, None, 5),
        ),
        ({"input_tokens": 3, "cache_read_input_tokens": 7}, {"output_tokens": 5}, Usage(10, 7, 5)),
        ({"input_tokens": 0}, {"input_tokens": 0, "output_tokens": 0}, Usage(0, None, 0)),
        ({"input_tokens": 3, "output_tokens": 1}, {"input_tokens": -4, "output_tokens": "9"}, Usage(3, None, 1)),
        ({}, {"cache_read_input_tokens": 7}, None),
        ({}, {}, None),
        ("no", [], None),
    ],
)
def test_anthropic(first: Any, last: Any, usage: Usage | None) -> None:
    """What caches hold is beside the input tokens there; and what the last report leaves out, the first has said."""
    assert anthropic_usage(json.dumps(last).encode(), json.dumps(first).encode()) == usage
    if first == {}:
        assert anthropic_usage(json.dumps(last).encode()) == usage


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (b'{"choices": [{"usage": {"prompt_tokens": 1}}], "usage": {"prompt_tokens": 2}}', b'{"prompt_tokens": 2}'),
        (b'{"usage": null}', b"null"),
        (b'{"choices": ["\\"usage\\": 1"]}', b""),
        (b'{"input_tokens": 5}', b""),
        (b'{"usage": {"a": "%b"}}' % (b"x" * MAX_REPORT_BYTES), b""),
        (b'{"usage": {"prompt_tokens": 1}', b""),
        (b'"usage"', b""),
        (b'\xff\xd8"usage"', b""),
        (b"", b""),
    ],
)
def test_where_a_whole_answer_says_it(answer: bytes, report: bytes) -> None:
    """At its top, and nowhere else."""
    assert find_report(answer) == report


@pytest.mark.parametrize(
    ("end", "report"),
    [
        (b'AAA", "usage": {"input_tokens": 1}, "user": null}}', b'{"input_tokens": 1}'),
        (b'"usage" :{"a": 1}, "x": {"usage":{"b": {"c": "}"}}}', b'{"b": {"c": "}"}}'),
        (b'"usage": {"a": 1}, "text": "\\"usage\\": {}, \\"usage": {"', b'{"a": 1}'),
        (b'"usage": null, "usage": 5, "usage": "{"', b""),
        (b'"usage": {"a": 1', b""),
        (b"", b""),
        (b'\xff\xc3 "usage": {"\xc3\xa9": 1}}', b'{"\xc3\xa9": 1}'),
        (b'"usage": ' + b'{"a":' * 5000, b""),
    ],
)
def test_where_the_end_of_an_answer_says_it(end: bytes, report: bytes) -> None:
    """As a key, which no text can look like."""
    assert last_report(end) == report


@given(st.binary(max_size=200))
def test_whatever_is_reported(report: bytes) -> None:
    """It comes to counts, or to nothing."""
    for meaning in (openai_usage, anthropic_usage):
        meaning(report, b"{")
        meaning(b'{"prompt_tokens": %b, "input_tokens": %b}' % (report, report), report)
        find_report(b'{"usage":' + report)


def test_nothing_is_too_deep() -> None:
    """What would take a deeper stack than there is, is no report."""
    deep = b'{"a_details":' * 2000 + b"1" + b"}" * 2000
    assert openai_usage(b'{"prompt_tokens": -1, "a_details": %b}' % deep) is None
    assert find_report(b'{"usage":' + deep * 10) == b""
