"""What is told to the sidecar of a worker's own numbers: what has changed, no sooner than it is due."""

import pytest
from structlog.testing import capture_logs

from invoker.delivery.reporting import IN_FLIGHT_PER_REPORT, NONE, Families, Reporting, changes
from shared.wire import Labelled, LabelledGauges, Report


class Worker:
    """Its numbers, as they are now."""

    def __init__(self) -> None:
        self.report = Report({"m": 1}, {"a": {"x": 1}}, {"g": 1.0})
        self.families = Families({"f": {"u": {"": 1}}}, {"h": {"u": 1.0}})
        self.made = 0

    def reporting(self) -> Reporting:
        return Reporting(lambda _everything: self.report, self._families)

    def _families(self) -> Families:
        self.made += 1
        return self.families


def next_whole(reporting: Reporting) -> Report:
    """The next that is of more than calls in flight."""
    for _ in range(IN_FLIGHT_PER_REPORT - 1):
        reporting.next()
    return reporting.next()


def test_all_is_told_first_and_then_what_changed() -> None:
    """Calls in flight each time, the others once in ten times, and not looked for in between."""
    worker = Worker()
    reporting = worker.reporting()
    assert reporting.all() == Report({"m": 1}, {"a": {"x": 1}}, {"g": 1.0}, [], *worker.families)
    assert [reporting.next() for _ in range(IN_FLIGHT_PER_REPORT - 1)] == [Report({"m": 1})] * 9
    assert worker.made == 1
    worker.families = Families({"f": {"u": {"": 1}, "v": {"": 2}}}, {"h": {"v": 0.0}})
    assert reporting.next() == Report(
        {"m": 1}, labelled={"f": {"v": {"": 2}}}, labelled_gauges={"h": {"u": None, "v": 0.0}}
    )
    worker.report = Report({}, {"a": {"x": 2}}, {"g": 1.0})
    assert next_whole(reporting) == Report({}, {"a": {"x": 2}}, {"g": 1.0})
    assert next_whole(reporting) == Report()
    assert reporting.all() == Report({}, {"a": {"x": 2}}, {"g": 1.0}, [], *worker.families)


@pytest.mark.parametrize(
    ("before", "now", "labelled", "gauges"),
    [
        (NONE, NONE, {}, {}),
        (
            Families({"f": {"u": {"": 1}}}, {"h": {"u": 1.0}}),
            Families({"f": {"u": {"": 1}}}, {"h": {"u": 1.0}}),
            {},
            {},
        ),
        (Families({"f": {"u": {"": 1}}}, {"h": {"u": 1.0}}), NONE, {}, {"h": {"u": None}}),
        (
            Families({}, {"h": {"u": 1.0}}),
            Families({}, {"h": {}, "i": {"u": 0.0}}),
            {},
            {"h": {"u": None}, "i": {"u": 0.0}},
        ),
        (
            Families({"f": {"u": {"a": 1}, "v": {"a": 1}}}, {}),
            Families({"f": {"u": {"a": 1, "b": 1}, "v": {"a": 1}}}, {}),
            {"f": {"u": {"a": 1, "b": 1}}},
            {},
        ),
    ],
)
def test_changes(before: Families, now: Families, labelled: Labelled, gauges: LabelledGauges) -> None:
    """Counters that are not there any more stay as they are; gauges are told as gone."""
    assert changes(before, now) == Report(labelled=labelled, labelled_gauges=gauges)


def test_what_can_not_be_made_is_told_of_once_and_stays_as_it_was() -> None:
    """A defect in one part stops no other, and takes nothing back."""
    worker = Worker()
    fails = False

    def families() -> Families:
        if fails:
            raise ValueError("a defect")
        return worker.families

    reporting = Reporting(lambda _everything: worker.report, families)
    reporting.all()
    fails = True
    worker.report = Report({}, {"a": {"x": 2}}, {"g": 1.0})
    with capture_logs() as told:
        assert [next_whole(reporting), next_whole(reporting)] == [Report({}, {"a": {"x": 2}}, {"g": 1.0}), Report()]
    assert [(line["event"], line["part"]) for line in told] == [("outbox.report_failed", "families")]
    fails = False
    assert next_whole(reporting) == Report()
