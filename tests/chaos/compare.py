"""What callers saw against what was recorded, call by call, and the three views against each other.

Nothing here talks to a process: calls and views in, findings out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal

from tests.chaos.calls import Call, Reply
from tests.chaos.expected import series_of, stats_of
from tests.chaos.models import BY_NAME, COST_USD, TOKENS
from tests.chaos.views import Row, Series, Views

Key = tuple[str, int]

ERROR_TYPES_OF_STATUS: Mapping[int, AbstractSet[str | None]] = {
    200: {None},
    429: {"overloaded", "upstream_status"},
    500: {"gateway_error", "upstream_status"},  # the latter in dialects, which pass it on
    502: {"connect", "upstream_status", "invalid_response"},
    503: {"draining", "upstream_status"},
    504: {"timeout"},
}


ERROR_TYPES_OF_STREAM = frozenset({"invalid_response", "timeout", "draining", "gateway_error"})
"""Of one that ended with an error event."""


@dataclass
class Findings:
    """What should be nothing, each with a sentence, and how many calls had an unknown end."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    unknown_with_row: int = 0
    unknown_without_row: int = 0

    @property
    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.disagreements]


def compare(
    calls: Sequence[Call], seen: Iterable[tuple[int, Key]], views: Views, dropped: int, full_rounds: AbstractSet[int]
) -> Findings:
    """All calls of the run. `seen`: those that reached the upstream, with the number of its
    process: one that ends before it answers may leave its calls to the next. `dropped`: records that the gateway
    counted as dropped, which only calls of `full_rounds`, in which there was no space for them, may lack."""
    findings = Findings()
    sent = Counter(seen)
    upstream = {key for _, key in sent}
    findings.disagreements += [f"{name(key)} was sent upstream {n} times" for (_, key), n in sent.items() if n > 1]
    rows: defaultdict[Key, list[Row]] = defaultdict(list)
    for each in views.rows:
        rows[each.key].append(each)
    findings.doubled += [f"{name(key)} has {len(found)} rows" for key, found in rows.items() if len(found) > 1]
    strays = rows.keys() - {call.key for call in calls}
    findings.disagreements += [f"{name(key)} has a row and was never called" for key in strays]

    dropped_keys: list[Key] = []
    unaccounted = 0
    for call in calls:
        recorded = rows.get(call.key)
        row = recorded[0] if recorded else None
        if call.outcome == "unknown":
            findings.unknown_with_row += row is not None
            findings.unknown_without_row += row is None
        if row is not None:
            findings.disagreements += [f"{name(call.key)}: {what}" for what in compare_call(call, row)]
        elif call.round in full_rounds:
            dropped_keys += [call.key] if call.outcome == "answered" else []
            unaccounted += call.outcome == "unknown"
        elif call.outcome == "answered" or call.key in upstream:
            findings.lost.append(f"{name(call.key)} in round {call.round}: {call.outcome} {call.status}, and no row")
    findings.lost += [f"{name(key)} was dropped and not counted" for key in dropped_keys[dropped:]]
    if dropped > len(dropped_keys) + unaccounted:
        findings.disagreements.append(f"{dropped} records counted as dropped, {len(dropped_keys)} are not there")
    findings.disagreements += compare_views(views)
    return findings


def compare_call(call: Call, row: Row) -> Iterator[str]:
    """What is different in a call's row."""
    if call.outcome == "refused":
        yield "a row, though it was never sent"
    if call.outcome == "answered" and call.reply is not None:
        yield from compare_reply(call, call.reply, row)
    elif call.outcome == "answered":
        yield from compare_dialect(call, row)
    elif call.outcome == "unknown" and row.error_type != "gateway_died" and row.output_size < call.output_size:
        yield f"{call.output_size} bytes of a stream came, recorded {row.output_size}"


def compare_reply(call: Call, reply: Reply, row: Row) -> Iterator[str]:
    if row.error_type not in ERROR_TYPES_OF_STATUS.get(call.status, ()):
        yield f"answered {call.status}, recorded as {row.error_type}"
    seen = (reply.success, reply.latency_ms, reply.error_log, call.output_size)
    recorded = (row.success, row.latency_ms, row.error_log, row.output_size)
    if seen != recorded:
        yield f"answered {seen}, recorded {recorded}"


def compare_dialect(call: Call, row: Row) -> Iterator[str]:
    """Of a whole answer, all is as it came; before an error event, at least as much came as went on. What that says is
    recorded, or is a part of what is, where the upstream says it."""
    streamed = call.ending != "none"
    if call.ending == "unfinished":
        yield "its body came to an end, and its answer didn't"
    elif call.ending == "whole":
        yield from compare_whole(call, row)
    elif row.error_type not in (ERROR_TYPES_OF_STREAM if streamed else ERROR_TYPES_OF_STATUS.get(call.status, ())):
        yield f"answered {call.status}, {call.ending}, recorded as {row.error_type}"
    elif call.message not in row.error_log and row.error_type != "upstream_status":
        yield f"told {call.message!r}, recorded {row.error_log!r}"
    elif streamed and row.output_size < call.output_size:
        yield f"{call.output_size} bytes came before an error, recorded {row.output_size}"


def compare_whole(call: Call, row: Row) -> Iterator[str]:
    """A success, with as many bytes, tokens and dollars as it must have."""
    if not row.success or row.output_size != call.output_size:
        yield f"{call.output_size} bytes came, to their end, recorded {row.error_type} and {row.output_size}"
    if (row.input_tokens, row.output_tokens) != (TOKENS, TOKENS):
        yield f"{TOKENS} tokens were asked about and answered, recorded {row.input_tokens} and {row.output_tokens}"
    model = BY_NAME.get(call.model_id)
    if (None if row.cost_usd is None else Decimal(row.cost_usd)) != (COST_USD if model and model.priced else None):
        yield f"it cost {row.cost_usd} USD"
    if call.streamed != row.streamed or call.streamed != (row.time_to_first_token_ms is not None):
        yield f"streamed: {call.streamed}, recorded {row.streamed}, output after {row.time_to_first_token_ms} ms"


def compare_views(views: Views) -> Iterator[str]:
    """Where history, statistics and counters differ; everything is computed anew from the rows."""
    if views.total_count != len(views.rows):
        yield f"total_count {views.total_count}, {len(views.rows)} rows"
    if len({row.id for row in views.rows}) != len(views.rows):
        yield "two rows with one id"
    if views.differences:
        yield f"the sidecar's own books differ: {views.differences}"
    by_model: defaultdict[str, list[Row]] = defaultdict(list)
    for row in views.rows:
        by_model[row.model_id].append(row)
    for model in views.stats.keys() - by_model.keys():
        yield f"{model}: statistics without rows"
    expected: Series = {}
    for model, rows in by_model.items():
        expected |= series_of(model, rows)
        if views.stats.get(model) != (stats := stats_of(rows)):
            yield f"{model}: rows give {stats}, statistics are {views.stats.get(model)}"
    counted = {name: value for name, value in views.series.items() if name.startswith("model_") and value}
    for series in (name for name, value in expected.items() if value):
        if counted.get(series) != expected[series]:
            yield f"{series}: rows give {expected[series]}, counter is {counted.get(series)}"
    for series in counted.keys() - expected.keys():
        if series.startswith("model_active_invocations"):
            yield f"{series} is {counted[series]} at rest"
        else:
            yield f"{series} is {counted[series]} without rows"


def name(key: Key) -> str:
    return f"call {key[0][:32]}/{key[1]}"
