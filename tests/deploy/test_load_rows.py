"""A call whose record isn't what its caller saw is found."""

import pytest

from deploy.load_answers import Seen
from deploy.load_rows import MAX_SHOWN, Row, row_differences

OK, FAILED, UNKNOWN = Seen("successful"), Seen("failed"), Seen("unknown")
GOOD, BAD = Row(1, "a", True), Row(1, "a", False)


@pytest.mark.parametrize(
    ("seen", "rows", "difference"),
    [
        (OK, [GOOD], None),
        (FAILED, [BAD], None),
        *((UNKNOWN, rows, None) for rows in ([], [GOOD], [BAD])),
        (OK, [], "call a was successful, and has no record"),
        (FAILED, [], "call a was failed, and has no record"),
        (OK, [BAD], "call a was successful; its record says failed"),
        (FAILED, [GOOD], "call a was failed; its record says successful"),
        (OK, [GOOD, GOOD], "call a has 2 records"),
        (UNKNOWN, [BAD, GOOD], "call a has 2 records"),
        (Seen("failed", unfinished=True), [BAD], "call a came to the end of its body, and not of its answer"),
    ],
)
def test_one_record_per_call(seen: Seen, rows: list[Row], difference: str | None) -> None:
    """Exactly one, that says the same; of an unknown end there may be one, or none."""
    assert row_differences({"a": seen}, rows, streamed=False) == ([difference] if difference else [])


@pytest.mark.parametrize("streamed", [True, False])
def test_what_was_asked_for_is_recorded(streamed: bool) -> None:
    """A stream, or not."""
    rows = [Row(1, "a", True, streamed)]
    assert row_differences({"a": OK}, rows, streamed=streamed) == []
    assert "asked for as a stream" in row_differences({"a": OK}, rows, streamed=not streamed)[0]


COUNTED = Seen("successful", first_output_at=1.0, input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    ("row", "difference"),
    [
        (Row(1, "a", True, True, 3, 2, 5.0), None),
        (Row(1, "a", True, True, 3, 1, 5.0), "was told of 3 and 2 tokens; its record says 3 and 1"),
        (Row(1, "a", True, True, None, None, 5.0), "was told of 3 and 2 tokens; its record says None and None"),
        (Row(1, "a", True, True, 3, 2, None), "had output; its record says otherwise"),
    ],
)
def test_tokens_and_output_are_recorded(row: Row, difference: str | None) -> None:
    """As the caller was told of them."""
    assert row_differences({"a": COUNTED}, [row], streamed=True) == ([f"call a {difference}"] if difference else [])


def test_few_are_shown() -> None:
    """And how many more there are."""
    found = row_differences({str(number): OK for number in range(MAX_SHOWN + 3)}, [], streamed=False)
    assert len(found) == MAX_SHOWN + 1
    assert found[-1] == "and 3 calls more"
