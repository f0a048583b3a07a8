"""Exports: every row once, as it stands in the history, in the order of commits."""

import gzip

import msgspec

from metrics_sidecar.history.exports import Export
from tests.metrics_sidecar.history.contract.arrivals import END_US, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import decode_lines
from tests.metrics_sidecar.history.contract.model import as_record

NDJSON = Export("ndjson")


async def test_an_export_is_the_history(open_history: OpenHistory) -> None:
    """All of it, and with a filter what the history finds with it; tended or not, compressed or not."""
    history, arrivals = open_history(), Arrivals(1)
    for _ in range(10):
        history.add(arrivals.records(40, minutes=300))
        history.writer.tend(arrivals.now_us, busy=False)
    exported = await history.exported(NDJSON)
    assert [(row.id, as_record(row)) for row in await history.rows()] == decode_lines(exported)
    assert history.model.records == [record for _, record in decode_lines(exported)]
    assert exported == gzip.decompress(await history.exported(Export("ndjson", gzip=True)))
    history.tend(END_US)
    history.reopen()
    assert exported == await history.exported(NDJSON)
    sizes = set()
    for _ in range(6):
        wanted = arrivals.filter()
        found = decode_lines(await history.exported(Export("ndjson", wanted)))
        assert (wanted, history.model.rows(wanted)) == (wanted, [record for _, record in found])
        assert [row.id for row in await history.rows(wanted)] == [row_id for row_id, _ in found]
        sizes.add(len(found))
    assert len(sizes) > 2


async def test_rows_are_told_from_those_of_other_histories(open_history: OpenHistory) -> None:
    """By the name of the store, which all rows of a history have, and no other's."""
    one, other = open_history("one"), open_history("other")
    stores = []
    for number, history in enumerate((one, other)):
        history.add(Arrivals(number).records(1))
        exported = await history.exported(NDJSON)
        stores.append({msgspec.json.decode(line)["store"] for line in exported.splitlines()})
    assert [len(names) for names in stores] == [1, 1]
    assert len(set.union(*stores) - {""}) == 2


async def test_what_comes_later_is_not_in_it(open_history: OpenHistory) -> None:
    """An export ends with the rows that there were when its first bytes came, however slowly it is read."""
    history, arrivals = open_history(), Arrivals(2)
    for _ in range(4):
        history.add(arrivals.records(5000, minutes=100))
    there = len(history.model.records)
    async with history.reader.rows(NDJSON) as chunks:
        exported = [await anext(chunks)]
        history.add(arrivals.records(5000, minutes=100))
        history.writer.tend(END_US, busy=False)
        exported += [chunk async for chunk in chunks]
    assert history.model.records[:there] == [record for _, record in decode_lines(b"".join(exported))]


async def test_who_leaves_early_leaves_no_trouble(open_history: OpenHistory) -> None:
    """Before the first bytes or after: commits go on, and there is room for the next export."""
    history, arrivals = open_history(), Arrivals(3)
    for _ in range(4):
        history.add(arrivals.records(5000, minutes=100))
    for number in range(5):
        async with history.reader.rows(NDJSON) as chunks:
            if number:
                assert await anext(chunks)
        history.add(arrivals.records(5))
    async with history.reader.rows(NDJSON) as chunks:
        exported = b"".join([chunk async for chunk in chunks])
    assert history.model.records == [record for _, record in decode_lines(exported)]
