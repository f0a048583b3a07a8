"""An export as a stream of bytes: the same for the sidecar's HTTP API and for the command."""

import sqlite3
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from metrics_sidecar.files.formats import make_encoder
from metrics_sidecar.files.line import to_columns
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.sqlite.export import read_slices
from metrics_sidecar.sqlite.identity import read_store_id

GZIP_LEVEL = 1  # ten times faster than 9, a fifth larger


class Piece(NamedTuple):
    """The next bytes, how many rows were read for them, and how much is read by now, from 0 to 1."""

    data: bytes
    rows: int
    done: float


def pieces(connection: sqlite3.Connection, wanted: Export) -> Iterator[Piece]:
    """All of the export. Holds no more of it than Parquet's row group. `StoreError` if the history has no id."""
    store_id = read_store_id(connection)
    if store_id is None:
        raise StoreError("the history has no id yet; start a sidecar on it once")
    encoder = make_encoder(wanted.format, bom=wanted.bom)
    # 16: with gzip's header.
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS + 16) if wanted.gzip else None
    for read in read_slices(connection, wanted.filter):
        data = encoder.encode(to_columns(read, store_id))
        yield Piece(compressor.compress(data) if compressor else data, len(read.rows), read.done)
    data = encoder.finish()
    yield Piece(compressor.compress(data) + compressor.flush() if compressor else data, 0, 1.0)
