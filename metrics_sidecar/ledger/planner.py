"""Turns what frames ask for into transactions: what of it is new. Neither I/O nor threads."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import cast

from metrics_sidecar.intake.families import FALLBACKS
from metrics_sidecar.intake.reported import Counters, known_counters
from metrics_sidecar.ledger.growth import Growth
from metrics_sidecar.ledger.times import ANY_TIME, Times
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit, Gap, Origin, Producer, State, UnreadRecord, Work
from metrics_sidecar.metrics.exemplars import find_exemplars
from shared.record import ErrorType, Record
from shared.wire import Unread, encode_record

MAX_ERROR_TYPES = 64
"""Different ones in one history, those of later releases included: each is a label of every model."""
MAX_UNREAD_BYTES = 1024 * 1024 * 1024
"""Of records that can't be read, set aside; what comes beyond it is dropped and counted."""


class Planner:
    """Turns work into commits. Knows the accounts as of the last commit that was `applied`."""

    def __init__(self, state: State) -> None:
        self._number = state.number
        self._producers = dict(state.producers)
        self._growth = Growth(state.counters)
        self._error_types: set[str | None] = {None, *ErrorType}
        self._error_types.update(kind for totals in state.totals.values() for kind in totals.errors)
        self.unread_bytes = state.unread_bytes
        self._removed_bytes: int | None = None
        self._dropped_unread = False

    @property
    def producer_count(self) -> int:
        return len(self._producers)

    @property
    def is_full_of_unread(self) -> bool:
        """Whether some had to be dropped since the start."""
        return self._dropped_unread

    def unread_removed(self, size_bytes: int) -> None:
        """So much of what was set aside is gone since the process began."""
        before = size_bytes if self._removed_bytes is None else self._removed_bytes  # what was loaded is without it
        self.unread_bytes -= size_bytes - before
        self._removed_bytes = size_bytes

    def producer(self, producer_id: str) -> Producer | None:
        """The account of a producer that has one."""
        return self._producers.get(producer_id)

    def plan(self, group: Iterable[Work], now_us: int, running_us: int = 0, times: Times = ANY_TIME) -> Commit:
        """One transaction for all of this work. Changes nothing here: see `applied`."""
        commit = Commit(self._number + 1, now_us, running_us=running_us)
        for work in group:
            if work.records:
                self._plan_records(commit, work)
            if work.reread:
                self._plan_reread(commit, work)
            if work.reported is not None:
                self._plan_report(commit, work.producer_id, known_counters(work.reported))
            self._plan_seen(commit, work)
        commit.records, commit.newest_us, commit.clamped = times.clamp(commit.records)
        self._sum(commit)
        commit.exemplars = find_exemplars(commit.records, times.arrival_us)
        return commit

    def plan_import(self, origin: Origin, records: Sequence[Record], now_us: int, times: Times) -> Commit:
        """One transaction for rows of another history, none of which is here; without those whose error type would be
        one too many."""
        commit = Commit(self._number + 1, now_us)
        error_types = dict.fromkeys(record.error_type for record in records)
        if refused := {each for each in error_types if not self._takes(commit, each)}:
            taken = [record.error_type not in refused for record in records]
            origin = Origin(origin.history, [*itertools.compress(origin.ids, taken)])
            records = [*itertools.compress(records, taken)]
        commit.origin = origin
        commit.records, _, commit.clamped = times.clamp([*records])
        self._sum(commit)
        return commit

    def plan_retirement(self, seen_before_us: int, running_us: int) -> Commit:
        """A transaction in which all producers retire that were last seen before a moment of running time."""
        stale = (id_ for id_, producer in self._producers.items() if producer.last_seen_us < seen_before_us)
        return self.plan([Work(producer_id, retire=True) for producer_id in stale], 0, running_us)

    def applied(self, commit: Commit) -> None:
        """The store has this commit."""
        self._number = commit.number
        for producer_id, producer in commit.producers.items():
            if producer is None:
                self._producers.pop(producer_id, None)
            else:
                self._producers[producer_id] = producer
        self._growth.applied(commit.counters)
        self._error_types |= commit.error_types
        self.unread_bytes += commit.unread_bytes
        self._dropped_unread |= commit.unread_dropped_count > 0

    def _sum(self, commit: Commit) -> None:
        commit.totals = aggregate(commit.records)
        asked = [record.fallback_from for record in commit.records if record.fallback_from is not None]
        if asked:
            self._growth.count(FALLBACKS, asked, commit.counters)

    def _account(self, commit: Commit, producer_id: str) -> Producer:
        known = self._producers.get(producer_id)
        return commit.producers.get(producer_id, known) or Producer()

    def _plan_records(self, commit: Commit, work: Work) -> None:
        account = self._account(commit, work.producer_id)
        expected = account.committed + 1
        known = min(max(expected - work.first_sequence, 0), len(work.records))
        commit.duplicate_count += known
        if known == len(work.records):
            return
        skipped = max(work.first_sequence - expected, 0)
        if skipped:
            commit.gaps.append(Gap(work.producer_id, expected, work.first_sequence - 1))
        new = work.records[known:] if known else work.records
        records = self._readable(commit, work.producer_id, work.first_sequence + known, new)
        commit.records += records
        commit.producers[work.producer_id] = dataclasses.replace(
            account,
            committed=work.first_sequence + len(work.records) - 1,
            accepted=account.accepted + len(records),
            missing=account.missing + skipped,
            unread=account.unread + len(new) - len(records),
        )

    def _readable(
        self, commit: Commit, producer_id: str, first: int, records: Sequence[Record | Unread]
    ) -> Sequence[Record]:
        """The others are set aside, whole: they stop neither their batch nor their producer."""
        if {each.error_type for each in records} <= self._error_types:
            return cast(Sequence[Record], records)
        found = []
        for sequence, each in enumerate(records, first):
            if isinstance(each, Unread):
                self._set_aside(commit, UnreadRecord(producer_id, sequence, each.encoded, each.reason))
            elif self._takes(commit, each.error_type):
                found.append(each)
            else:
                reason = f"there are {MAX_ERROR_TYPES} error types already"
                self._set_aside(commit, UnreadRecord(producer_id, sequence, encode_record(each), reason))
        return found

    def _takes(self, commit: Commit, error_type: str | None) -> bool:
        if error_type in self._error_types or error_type in commit.error_types:
            return True
        assert error_type is not None
        if len(self._error_types) + len(commit.error_types) > MAX_ERROR_TYPES:  # with None
            return False
        commit.error_types.add(error_type)
        return True

    def _set_aside(self, commit: Commit, unread: UnreadRecord) -> None:
        if self.unread_bytes + commit.unread_bytes + len(unread.encoded) > MAX_UNREAD_BYTES:
            commit.unread_dropped_count += 1
        else:
            commit.unread.append(unread)
            commit.unread_bytes += len(unread.encoded)

    def _plan_reread(self, commit: Commit, work: Work) -> None:
        """Each under the sequence that it had: counted once, as no sequence is taken twice."""
        for unread, record in work.reread:
            if not self._takes(commit, record.error_type):
                continue
            commit.records.append(record)
            commit.reread.append(unread)
            commit.unread_bytes -= len(unread.encoded)
            account = commit.producers.get(unread.producer_id, self._producers.get(unread.producer_id))
            if account is None:
                commit.reread_retired_count += 1
            else:
                commit.producers[unread.producer_id] = dataclasses.replace(
                    account, accepted=account.accepted + 1, unread=account.unread - 1
                )

    def _plan_report(self, commit: Commit, producer_id: str, reported: Counters) -> None:
        """Add to the counters what grew since this producer's last report."""
        account = self._account(commit, producer_id)
        known = self._growth.grown(account.reported, reported, commit.counters)
        if known is not account.reported:
            commit.producers[producer_id] = dataclasses.replace(account, reported=known)

    def _plan_seen(self, commit: Commit, work: Work) -> None:
        """Note when; and end the account of a producer that retires."""
        producer_id = work.producer_id
        account = commit.producers.get(producer_id, self._producers.get(producer_id))
        if account is None:
            return
        if work.retire:
            commit.retired.append(account)
            commit.producers[producer_id] = None
        else:
            commit.producers[producer_id] = dataclasses.replace(account, last_seen_us=commit.running_us)
