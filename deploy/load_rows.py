"""The history's rows of a run, call by call, against what callers saw."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deploy.load_answers import Seen

MAX_SHOWN = 10


class Row(msgspec.Struct, frozen=True):
    """A history row, as far as it is compared."""

    id: int
    request_id: str | None
    success: bool
    streamed: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    time_to_first_token_ms: float | None = None


class Page(msgspec.Struct):
    """A page of the history."""

    history: list[Row]
    next_cursor: str | None


_decode_page: msgspec.json.Decoder[Page] = msgspec.json.Decoder(Page)


def decode_page(body: bytes) -> Page:
    """`msgspec.DecodeError` if it is none."""
    return _decode_page.decode(body)


def row_differences(calls: Mapping[str, Seen], rows: Sequence[Row], *, streamed: bool) -> list[str]:
    """A sentence for each call whose record isn't exactly what its caller saw; the first of them, and how many more.
    `calls` by request id; of the rows, all that have one of these ids. `streamed`: what was asked for."""
    counts = Counter(row.request_id for row in rows)
    found = [f"call {request_id} has {count} records" for request_id, count in counts.items() if count > 1]
    by_id = {row.request_id: row for row in rows}
    for request_id, seen in calls.items():
        found += [f"call {request_id} {what}" for what in _differences(seen, by_id.get(request_id), streamed)]
    more = [f"and {len(found) - MAX_SHOWN} calls more"] if len(found) > MAX_SHOWN else []
    return found[:MAX_SHOWN] + more


def _differences(seen: Seen, row: Row | None, streamed: bool) -> Iterator[str]:
    if seen.unfinished:
        yield "came to the end of its body, and not of its answer"
    if row is None:
        if seen.verdict != "unknown":
            yield f"was {seen.verdict}, and has no record"
    elif seen.verdict != "unknown" and row.success != (seen.verdict == "successful"):
        yield f"was {seen.verdict}; its record says {'successful' if row.success else 'failed'}"
    elif row.streamed != streamed:
        yield f"was {'' if streamed else 'not '}asked for as a stream; its record says otherwise"
    elif seen.verdict == "successful":
        yield from _differences_of_success(seen, row)


def _differences_of_success(seen: Seen, row: Row) -> Iterator[str]:
    tokens, recorded = (seen.input_tokens, seen.output_tokens), (row.input_tokens, row.output_tokens)
    if tokens != recorded:
        yield f"was told of {tokens[0]} and {tokens[1]} tokens; its record says {recorded[0]} and {recorded[1]}"
    if (seen.first_output_at is None) != (row.time_to_first_token_ms is None):
        began = "had no output" if seen.first_output_at is None else "had output"
        yield f"{began}; its record says otherwise"
