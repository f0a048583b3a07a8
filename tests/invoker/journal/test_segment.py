"""Segment files: what is found again after a crash, and what is not taken for an entry."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invoker.journal.segment import BEGIN, END, ENTRY_BYTES, MIN_SEGMENT_BYTES, RECORD, Segment

kept = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
entries = st.lists(
    st.tuples(
        st.sampled_from([BEGIN, RECORD, END]), st.integers(0, 2**40), st.integers(0, 2**40), st.binary(max_size=99)
    ),
    max_size=30,
)


def new_segment(directory: Path, serial: int = 1) -> Segment:
    segment = Segment.allocate(directory / f"{os.urandom(4).hex()}.spare", MIN_SEGMENT_BYTES)
    segment.path.parent.joinpath(f"{serial:012d}.segment").unlink(missing_ok=True)
    segment.activate(directory, serial, 1, (0, 0))
    return segment


def reopened(path: Path) -> Segment:
    """As an adopter has it."""
    segment = Segment.open(path)
    assert segment is not None
    assert list(segment.recover()) == list(segment.entries())
    return segment


def found(segment: Segment) -> list[tuple[int, int, int, bytes]]:
    return [(entry.kind, entry.call, entry.sequence, entry.payload) for entry in segment.entries()]


@kept
@given(entries)
def test_what_was_added_is_found_again(tmp_path: Path, added: list[tuple[int, int, int, bytes]]) -> None:
    """A reader of the file, such as an adopter, finds each entry and the end behind the last one."""
    segment = new_segment(tmp_path)
    for entry in added:
        segment.add(*entry)
    segment.set_dropped((3, 4))
    segment.unmap()
    again = reopened(segment.path)
    assert (found(again), again.position, again.dropped()) == (added, segment.position, (3, 4))
    again.unmap()


@kept
@given(entries.filter(bool), st.data())
def test_a_torn_tail_is_cut_and_all_before_it_kept(
    tmp_path: Path, added: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    """Any damage in the last entry costs that entry alone."""
    segment = new_segment(tmp_path)
    for entry in added[:-1]:
        segment.add(*entry)
    start = segment.position
    segment.add(*added[-1])
    at = data.draw(st.integers(start, segment.position - 1))
    segment.mapped[at] ^= data.draw(st.integers(1, 255))
    assert found(segment) == added[:-1]
    segment.unmap()


def test_what_an_earlier_use_left_behind_is_no_entry(tmp_path: Path) -> None:
    """A recycled file begins empty, although its old bytes are still there."""
    segment = new_segment(tmp_path)
    for number in range(10):
        segment.add(RECORD, number, number, b"old")
    segment.activate(tmp_path, 2, 11, (0, 0))
    assert found(segment) == []
    segment.add(RECORD, 10, 11, b"new")
    assert found(segment) == [(RECORD, 10, 11, b"new")]
    segment.unmap()


@pytest.mark.parametrize("sequence", [1, 1023, 1024, 1025, 1900, 2047])
def test_a_reader_starts_near_the_sequence_that_it_looks_for(tmp_path: Path, sequence: int) -> None:
    """Offsets are remembered now and then, for live files and for those opened again."""
    segment = new_segment(tmp_path)
    for number in range(1, 2048):
        segment.add(RECORD, 0, number, b"")
    segment.unmap()
    again = reopened(segment.path)
    segment.map()
    for each in (segment, again):
        start = each.offset_before(sequence)
        first = next(each.entries(start)).sequence
        assert first <= sequence < first + 1024
        assert sequence in {entry.sequence for entry in each.entries(start)}
    again.unmap()
    segment.unmap()


def test_a_segment_takes_its_space_at_once(tmp_path: Path) -> None:
    """No block of the file is a hole: a store into one could kill the process on a full disk."""
    segment = new_segment(tmp_path)
    assert segment.path.stat().st_blocks * 512 >= MIN_SEGMENT_BYTES
    assert ENTRY_BYTES == 25
    segment.unmap()


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * MIN_SEGMENT_BYTES, b"SQLite format 3\0" * 8192])
def test_a_file_that_is_no_segment_is_none(tmp_path: Path, content: bytes) -> None:
    """What somebody else put there is neither read nor changed."""
    path = tmp_path / f"{1:012d}.segment"
    path.write_bytes(content)
    assert Segment.open(path) is None
    assert path.read_bytes() == content
