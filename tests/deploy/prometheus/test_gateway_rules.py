"""Alerts on the gateway, its journal, and records on their way."""

from pathlib import Path

from tests.deploy.prometheus.rules import Case, Values, check, flat, phases, rising, without
from tests.deploy.prometheus.test_sidecar_rules import PAGE, TICKET, one, two


def test_gateway_not_connected(tmp_path: Path) -> None:
    """No worker for two minutes, at any one of the sidecars."""
    name = "sidecar_producers_connected"
    gone = [*flat(2, 5), *flat(0, 5)]
    cases = [
        Case(
            "fires",
            one(name, gone),
            {4: [], 6: [], 8: [PAGE]},
            {
                "summary": "No gateway worker is connected to the sidecar one",
                "description": (
                    "0 gateway workers are connected to one: either no gateway runs, or its records wait in its "
                    "journal."
                ),
            },
        ),
        Case("not with one worker", one(name, flat(1, 10)), {8: []}),
        Case(
            "not while a gateway starts anew",
            one(name, [*flat(1, 5), *flat(0, 1.5), *flat(1, 4)]),
            {6: [], 7: [], 9: []},
        ),
        Case("fires for one of two replicas", {**one(name, gone), **two(name, flat(1, 10))}, {8: [PAGE]}),
    ]
    check("GatewayNotConnected", cases, tmp_path)


def test_journal_growing(tmp_path: Path) -> None:
    """More and more records wait, for 5 minutes."""
    name = "invoker_records_waiting"
    noise: Values = [float(n * 7919 % 50) for n in range(80)]
    growing = [*flat(10, 5), *rising(6000, 15, 10)]
    cases = [
        Case(
            "fires",
            {**one(name, growing), **one("invoker_journal_bytes", flat(4 * 1024**2, 20))},
            {5: [], 8: [], 12: [TICKET]},
            {
                "summary": "The journals of the gateway of one grow",
                "description": (
                    "37.51k records wait in the journals of the gateway of one (4MiB), for 5 minutes more and more: "
                    "the sidecar can't keep up."
                ),
            },
        ),
        Case("slow growth", one(name, rising(6, 20)), {3: [], 12: [TICKET]}),
        Case("not for noise", one(name, noise), {6: [], 12: [], 19: []}),
        Case("not for a step", one(name, [*flat(10, 5), *flat(5000, 15)]), {8: [], 9: [], 12: [], 19: []}),
        Case("not while it shrinks", one(name, [*flat(9e6, 5), *rising(-6e5, 15, 9e6)]), {8: [], 12: [], 19: []}),
        Case("not without a connected worker", {}, {12: []}),
    ]
    check("JournalGrowing", cases, tmp_path)


def test_records_dropped(tmp_path: Path) -> None:
    """One is enough, also in a series that was not there before; what was seen before is no news."""
    name = "invoker_records_dropped_total"
    page = [{**PAGE, "reason": "journal_full"}]
    labels = {"reason": "journal_full"}
    cases = [
        Case(
            "fires",
            one(name, phases((0, 5), (4, 0.25), (0, 20)), **labels),
            {5: [], 6: page, 22: []},
        ),
        Case(
            "fires for a new series",
            one(name, [*[None] * 20, *flat(7, 30)], **labels),
            {4: [], 22: [], 6: page},
            {
                "summary": "The gateway of one drops records",
                "description": (
                    "7 records were dropped in the last 15 minutes (journal_full) by the gateway of one. These "
                    "invocations are in no figure."
                ),
            },
        ),
        Case("not for none", one(name, flat(0, 20), **labels), {6: [], 19: []}),
        Case(
            "not for old ones after a restart",
            one(name, without(flat(7, 90), 40, 41), **labels),
            {42: [], 55.5: [], 60: []},
        ),
    ]
    check("RecordsDropped", cases, tmp_path)


def test_records_missing(tmp_path: Path) -> None:
    """One is enough; what was seen before is no news."""
    name = "sidecar_records_missing_total"
    cases = [
        Case(
            "fires",
            one(name, [*flat(0, 16), *flat(3, 4)]),
            {15: [], 19: [PAGE]},
            {
                "summary": "Records for the sidecar one are lost",
                "description": (
                    "3 records were found missing in the last 15 minutes by one: their journal was removed, or the "
                    "ledger was. These invocations are in no figure."
                ),
            },
        ),
        Case("fires for a new sidecar", one(name, flat(3, 20)), {1: [PAGE], 16: []}),
        Case("not for none", one(name, flat(0, 20)), {6: [], 19: []}),
        Case("not for old ones after a restart", one(name, without(flat(7, 90), 40, 41)), {42: [], 55.5: [], 60: []}),
    ]
    check("RecordsMissing", cases, tmp_path)


def test_records_set_aside(tmp_path: Path) -> None:
    """One is enough, also before the first scrape: a ticket while there is room for them, then a page."""
    name = "sidecar_records_unread_total"
    kept, dropped = {"fate": "kept"}, {"fate": "dropped"}
    none = {**one(name, flat(0, 40), **kept), **one(name, flat(0, 40), **dropped)}
    cases = [
        Case(
            "fires",
            {**none, **one(name, [*flat(0, 16), *flat(3, 24)], **kept)},
            {15: [], 33: [], 19: [{**TICKET, **kept}]},
            {
                "summary": "The metrics sidecar one gets records that it can't read",
                "description": (
                    "3 records came to one in the last 15 minutes that it can't read (kept): its gateway is of a later "
                    "release. These invocations are in no figure."
                ),
            },
        ),
        Case(
            "pages for those dropped",
            {**one(name, flat(9, 40), **kept), **one(name, [*flat(0, 20), *flat(3, 20)], **dropped)},
            {19: [], 22: [{**PAGE, **dropped}], 37: []},
        ),
        Case(
            "fires for a new sidecar, before its first scrape",
            one(name, flat(3, 20), **kept),
            {1: [{**TICKET, **kept}], 16: []},
        ),
        Case(
            "after a restart, before its first scrape",
            one(name, [*flat(0, 20), *[None] * 8, *flat(5, 20)], **kept),
            {19: [], 23: [{**TICKET, **kept}], 40: []},
        ),
        Case("not for none", none, {6: [], 19: [], 39: []}),
        Case(
            "not for old ones after a gap", one(name, without(flat(7, 90), 40, 41), **kept), {42: [], 55.5: [], 60: []}
        ),
        Case("not for a counter that starts anew", one(name, [*flat(7, 20), *flat(0, 20)], **kept), {21: [], 39: []}),
    ]
    check("RecordsSetAside", cases, tmp_path)


def test_producers_rejected(tmp_path: Path) -> None:
    """One is enough."""
    frames, connections = "sidecar_frames_rejected_total", "sidecar_connections_refused_total"
    version = {"reason": "version"}
    cases = [
        Case(
            "fires",
            one(frames, [*flat(0, 15), *flat(3, 5)], **version),
            {14: [], 19: [{**TICKET, **version}]},
            {
                "summary": "The metrics sidecar one turns producers away",
                "description": "3 connections to the socket of one were closed in the last 15 minutes (version).",
            },
        ),
        Case("fires for too many", one(connections, [*flat(0, 15), *flat(3, 5)]), {14: [], 19: [TICKET]}),
        Case("not for none", {**one(frames, flat(0, 20), **version), **one(connections, flat(0, 20))}, {19: []}),
        Case("not after a restart", one(connections, [*flat(5, 10), *flat(0, 10)]), {11: [], 19: []}),
    ]
    check("ProducersRejected", cases, tmp_path)


def test_no_files_free(tmp_path: Path) -> None:
    """For a minute; one moment is over before anybody can look."""
    gateway, sidecar = "invoker_accept_failures_total", "sidecar_accept_failures_total"
    files = {"reason": "EMFILE"}
    cases = [
        Case(
            "fires",
            one(gateway, phases((0, 3), (60, 5)), **files),
            {3: [], 6: [PAGE]},
            {
                "summary": "Connections at one wait for a free file",
                "description": (
                    "60 times within a minute connections to one or its gateway had to wait, as no file was free for "
                    "them. Callers wait, too."
                ),
            },
        ),
        Case("fires for the sidecar", one(sidecar, phases((0, 3), (60, 5)), **files), {6: [PAGE]}),
        Case("not after a moment", one(gateway, phases((0, 3), (4, 0.25), (0, 5)), **files), {3.5: [], 4.5: [], 6: []}),
        Case("not for none", {**one(gateway, flat(9, 9), **files), **one(sidecar, flat(0, 9), **files)}, {8: []}),
    ]
    check("NoFilesFree", cases, tmp_path)
