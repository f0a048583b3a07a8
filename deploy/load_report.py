"""How a run of the load test is shown: progress on stderr, the result as text or JSON on stdout."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.load_generator import Generator
from deploy.load_outcomes import as_dict, summary_ms

PLAIN_INTERVAL_S = 5.0
BAR_INTERVAL_S = 0.2

OUTCOMES = ("successful", "failed", "rejected", "unknown")


@contextlib.asynccontextmanager
async def progress(generator: Generator) -> AsyncIterator[None]:
    """Show how far the generator is: a bar on a terminal, elsewhere a line every 5 s."""
    show = _bar if sys.stderr.isatty() else _lines
    task = asyncio.create_task(show(generator))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _bar(generator: Generator) -> None:
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=generator.plan.duration_s)
        started = time.monotonic()
        while True:
            bar.update(task, completed=time.monotonic() - started, description=_state(generator))
            await asyncio.sleep(BAR_INTERVAL_S)


async def _lines(generator: Generator) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(PLAIN_INTERVAL_S)
        elapsed_s = time.monotonic() - started
        head = f"load-test: {elapsed_s:.0f} s of {generator.plan.duration_s:g} s:"
        print(f"{head} {_state(generator)}", file=sys.stderr, flush=True)


def _state(generator: Generator) -> str:
    totals = generator.tally.totals
    return (
        f"sent {totals.sent}, successful {totals.successful}, failed {totals.failed}, in flight {generator.in_flight}"
    )


def result(generator: Generator, differences: list[str] | None) -> dict[str, Any]:
    """The whole result; `differences` is None when the sidecar was not asked."""
    tally, plan = generator.tally, generator.plan
    sent = tally.totals.sent
    return {
        "url": plan.url,
        "rate_wanted": plan.rate,
        "rate_sent": round(sent / generator.sending_s, 1) if generator.sending_s else 0.0,
        "sending_s": round(generator.sending_s, 3),
        "seed": plan.seed,
        **as_dict(tally.totals),
        "not_sent": tally.not_sent,
        "statuses": dict(sorted(tally.statuses.items())),
        "latency_ms": summary_ms(tally.latencies_s),
        "service_ms": summary_ms(tally.service_s),
        "send_lag_ms": summary_ms(tally.lags_s),
        **_streamed(generator),
        "models": {model: as_dict(of) for model, of in tally.models.items()},
        "agree": None if differences is None else not differences,
        "differences": differences or [],
    }


def _streamed(generator: Generator) -> dict[str, Any]:
    """What answers of dialects with tokens have beside that."""
    tally, plan = generator.tally, generator.plan
    if plan.protocol in ("worklet", "kserve"):
        return {}
    tokens = {"input_tokens": tally.input_tokens, "output_tokens": tally.output_tokens}
    if not plan.stream:
        return tokens
    per_second = round(tally.events / generator.running_s, 1) if generator.running_s else 0.0
    return {
        "first_output_ms": summary_ms(tally.first_outputs_s),
        "events": tally.events,
        "events_per_second": per_second,
        **tokens,
    }


def print_result(outcome: dict[str, Any], *, as_json: bool) -> None:
    """Write the result to stdout."""
    print(json.dumps(outcome) if as_json else "\n".join(_text(outcome)), flush=True)


def _text(outcome: dict[str, Any]) -> list[str]:
    statuses = ", ".join(f"{status}: {count}" for status, count in outcome["statuses"].items())
    lines = [
        f"sent         {outcome['sent']} in {outcome['sending_s']:.1f} s with seed {outcome['seed']}",
        f"per second   {outcome['rate_sent']:g} (wanted: {outcome['rate_wanted']:g})",
        f"not sent     {outcome['not_sent']}, because too many were in flight",
        f"outcomes     {', '.join(f'{name} {outcome[name]}' for name in OUTCOMES)}",
        f"by status    {statuses or 'none'}",
        *_told_by_dialects(outcome),
        "",
        *_table(["milliseconds", *outcome["latency_ms"]], _durations(outcome)),
        "",
        *_table(
            ["model", "sent", "successful", "failed", "rejected", "unknown"],
            [[model, *map(str, of.values())] for model, of in outcome["models"].items()],
        ),
        "",
    ]
    return [*lines, *_agreement(outcome)]


def _told_by_dialects(outcome: dict[str, Any]) -> list[str]:
    lines = []
    if "events" in outcome:
        lines.append(f"events       {outcome['events']}, {outcome['events_per_second']:g} per second")
    if "output_tokens" in outcome:
        lines.append(f"tokens       input {outcome['input_tokens']}, output {outcome['output_tokens']}")
    return lines


def _durations(outcome: dict[str, Any]) -> list[list[str]]:
    rows = {"latency (from when due)": "latency_ms", "service (from when sent)": "service_ms"}
    if "first_output_ms" in outcome:
        rows["first output (from when due)"] = "first_output_ms"
    rows["generator's own delay"] = "send_lag_ms"
    return [[title, *_ms(outcome[name])] for title, name in rows.items()]


def _agreement(outcome: dict[str, Any]) -> list[str]:
    if outcome["agree"] is None:
        return ["agree: not checked"]
    if outcome["agree"]:
        return ["agree: yes"]
    return ["agree: NO", *(f"  {difference}" for difference in outcome["differences"])]


def _ms(summary: dict[str, float]) -> list[str]:
    return [f"{value:.2f}" for value in summary.values()]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Columns aligned: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]
