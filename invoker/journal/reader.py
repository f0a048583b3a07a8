"""Reads a journal's records in their order, across its segments, for the outbox."""

from collections.abc import Sequence

from invoker.journal.segment import Segment


class JournalReader:
    """Goes through the segments that its journal keeps, oldest first; of those that are full, only the one that
    is being read stays mapped."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._segment: Segment | None = None
        self._next = (0, 0)  # the sequence that was not read yet, and an offset from which to find it

    def read(self, sequence: int, max_records: int, max_bytes: int) -> tuple[int, list[bytes]]:
        """Encoded records from a sequence on, at least one if there is one, and the first one's sequence: a later
        one than asked for if the journal has a hole there. The next hole, a limit or a segment's end ends them."""
        segment = self._find(sequence)
        while segment is not None:
            at, offset = self._next
            start = offset if at == sequence else segment.offset_before(sequence)
            first, records, end = segment.records(start, sequence, max_records, max_bytes)
            if records:
                self._next = (first + len(records), end)
                return first, records
            segment = self._turn_to(self._following(segment))
        return sequence, []

    def is_reading(self, segment: Segment) -> bool:
        return segment is self._segment

    def leave(self, segment: Segment) -> None:
        """The journal takes this segment away."""
        if segment is self._segment:
            self._segment = None

    def _find(self, sequence: int) -> Segment | None:
        """The segment that a sequence is in, or would be."""
        found = next((s for s in reversed(self._segments) if s.first_sequence <= sequence), None)
        return self._turn_to(found or (self._segments[0] if self._segments else None))

    def _following(self, segment: Segment) -> Segment | None:
        return next((s for s in self._segments if s.serial > segment.serial), None)

    def _turn_to(self, segment: Segment | None) -> Segment | None:
        if segment is not self._segment:
            if self._segment is not None and self._segment is not self._segments[-1]:
                self._segment.unmap()
            self._segment, self._next = segment, (0, 0)
            if segment is not None:
                segment.map()
        return segment
