"""What a worker tells of itself on one connection: what has changed since it told it, each as often as it is due."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from shared import logs
from shared.wire import Labelled, LabelledGauges, Report

IN_FLIGHT_PER_REPORT = 10
"""So often calls in flight are told for each time that the other numbers are."""

log = logs.get("outbox")

ReportSource = Callable[[bool], Report]
"""The worker's own numbers: all of them if True, else what calls in flight changed since the last time."""


class Families(NamedTuple):
    """A worker's numbers by the values of their labels, as `Report` has them: all of them, none as None."""

    counted: Labelled
    measured: LabelledGauges


FamilySource = Callable[[], Families]
"""What a report doesn't have, as it may be of thousands of upstreams."""
T = TypeVar("T")
NONE = Families({}, {})


class Reporting:
    """Of one worker. A part that can't be made is told of once, and is as it was before: records don't stop for it."""

    def __init__(self, report: ReportSource, families: FamilySource) -> None:
        self._report = report
        self._families = families
        self._failed: dict[str, bool] = {}
        self._told = (Report(), NONE)
        self._turn = 0

    def all(self) -> Report:
        """For a receiver that knows nothing."""
        self._turn = 0
        report = self._made("report", lambda: self._report(True), Report())
        families = self._made("families", self._families, NONE)
        self._told = (report, families)
        changed = changes(NONE, families)
        return Report(
            report.in_flight,
            report.counters,
            report.gauges,
            labelled=changed.labelled,
            labelled_gauges=changed.labelled_gauges,
        )

    def next(self) -> Report:
        """What has changed since then."""
        self._turn += 1
        report = self._made("report", lambda: self._report(False), Report())
        if self._turn % IN_FLIGHT_PER_REPORT:
            return Report(report.in_flight)
        last, before = self._told
        families = self._made("families", self._families, before)
        self._told = (report, families)
        changed = changes(before, families)
        if (report.counters, report.gauges) == (last.counters, last.gauges):
            return Report(report.in_flight, labelled=changed.labelled, labelled_gauges=changed.labelled_gauges)
        return Report(
            report.in_flight,
            report.counters,
            report.gauges,
            labelled=changed.labelled,
            labelled_gauges=changed.labelled_gauges,
        )

    def _made(self, part: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            made = make()
        except Exception:
            if not self._failed.get(part):
                log.exception("outbox.report_failed", part=part)
            self._failed[part] = True
            return otherwise
        self._failed[part] = False
        return made


def changes(before: Families, now: Families) -> Report:
    """What is to be told to one who knows how it was. Counters stay; gauges that are gone are None."""
    measured: LabelledGauges = {}
    for name in before.measured.keys() | now.measured.keys():
        mine, other = now.measured.get(name, {}), before.measured.get(name, {})
        if values := {**dict.fromkeys(other.keys() - mine.keys()), **_changed(other, mine)}:
            measured[name] = values
    counted = {name: _changed(before.counted.get(name, {}), values) for name, values in now.counted.items()}
    return Report(labelled={name: values for name, values in counted.items() if values}, labelled_gauges=measured)


def _changed(before: dict[str, T], now: dict[str, T]) -> dict[str, T]:
    return {label: value for label, value in now.items() if label not in before or before[label] != value}
