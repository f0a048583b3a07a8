"""Frames between a gateway worker (producer) and the sidecar, on a Unix stream socket.

A frame (`shared.framing`) is an array in msgpack whose first element is the message's tag. A connection opens with
`Hello` → `Welcome`; then `Batch` → `Ack` and `Report` flow; `Flush` → `Flushed` and `Bye` end a producer's life.
Sequences start at 1 and have no gaps; a batch sent again is harmless.

Gateway and sidecar may be of different releases. The version goes up with each field of a record; a connection is of
the newest that both know. A journal's records are sent as they were written, by whatever release: older ones are read
with defaults, and those that can't be read here (`Unread`) are kept as they are, for a release that can.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from shared.framing import LENGTH, FrameError, framed
from shared.record import Count, ModelId, Record

OLDEST_VERSION = 1
PROTOCOL_VERSION = OLDEST_VERSION + len(Record.__struct_fields__) - 8  # of which the first version's records had 8
MAX_BATCH_RECORDS = 4096
MAX_MODELS = 10_000
"""In one frame, known or in flight; and in flight on one connection."""
MODELS_PER_FRAME = 500
"""Ids of 1 KiB each leave room in a frame for all else that a report holds. What is more goes into further ones."""
LABELS_PER_FRAME = 500
"""Values of first labels, of all families; they have frames of their own."""
MAX_REASON_CHARS = 500

OVERHEAD_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SUM_US = "sum_us"
"""How a report's counter `invoker_overhead_seconds` is labelled: upper bounds, and the sum in µs."""

UPSTREAM_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Likewise of an upstream's `invoker_upstream_latency_seconds`."""

_REPORT_TAG = 5

ProducerId = Annotated[str, Meta(pattern="^[0-9a-f]{32}\\Z")]
Sequence_ = Annotated[int, Meta(ge=1, le=2**62)]
ShortText = Annotated[str, Meta(max_length=64)]
LabelValue = Annotated[str, Meta(min_length=1, max_length=256)]

Labelled = dict[str, dict[str, dict[str, int]]]
"""Family → value of its first label → value of its second, empty where it has none → count."""
LabelledGauges = dict[str, dict[str, float | None]]
"""Family → value of its label → how much it is now; None: it is no more."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """producer → sidecar, first. `version`: the oldest that the producer speaks, and `newest` the newest.
    `next_sequence`: the lowest that it still holds or will give; `models`: some of those that it knows before any
    call, so that their counters exist from 0 on; reports tell of the others."""

    version: int
    producer_id: ProducerId
    next_sequence: Sequence_
    models: Annotated[list[ModelId], Meta(max_length=MAX_MODELS)] = []
    newest: Count = 1


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """sidecar → producer. `version`: the newest that both know; `committed`: the last sequence in the
    ledger, 0 for none; send from the next."""

    version: int
    committed: Count


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """producer → sidecar: records with the sequences `first_sequence`, `first_sequence + 1`, …"""

    first_sequence: Sequence_
    records: Annotated[list[Record], Meta(min_length=1, max_length=MAX_BATCH_RECORDS)]


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """sidecar → producer: everything up to and including `committed` is in the ledger."""

    committed: Count


class Report(msgspec.Struct, frozen=True, array_like=True, tag=_REPORT_TAG):
    """producer → sidecar: what changed of the producer's own state, as absolute values.

    `in_flight`: model → calls; `counters`: name → label value → count since the producer's life began;
    `gauges`: name → value, summed over live producers; `models`: as in a hello, those that it had no room for.
    `labelled`: likewise counters, and `labelled_gauges`: gauges, of those values of labels whose numbers changed.
    """

    in_flight: Annotated[dict[ModelId, Count], Meta(max_length=MAX_MODELS)] = {}
    counters: Annotated[
        dict[ShortText, Annotated[dict[ShortText, Count], Meta(max_length=64)]], Meta(max_length=64)
    ] = {}
    gauges: Annotated[dict[ShortText, float], Meta(max_length=64)] = {}
    models: Annotated[list[ModelId], Meta(max_length=MAX_MODELS)] = []
    labelled: Annotated[
        dict[
            ShortText,
            Annotated[
                dict[LabelValue, Annotated[dict[ShortText, Count], Meta(max_length=64)]],
                Meta(max_length=LABELS_PER_FRAME),
            ],
        ],
        Meta(max_length=64),
    ] = {}
    labelled_gauges: Annotated[
        dict[ShortText, Annotated[dict[LabelValue, float | None], Meta(max_length=LABELS_PER_FRAME)]],
        Meta(max_length=64),
    ] = {}


class Bye(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """producer → sidecar: all is acknowledged and nothing will be sent again; the cursor may go."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """sidecar → producer, before it closes: why. `records`: sequences of those that a sidecar of the first version can
    never take, if it is for them; the producer leaves them out, and sends all others again."""

    reason: str
    records: Annotated[list[Sequence_], Meta(max_length=MAX_BATCH_RECORDS)] = []


class Flush(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """producer → sidecar: answer `Flushed` once all that was sent before, reports too, is in the ledger."""


class Flushed(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """sidecar → producer: see `Flush`."""


ToSidecar = Hello | Batch | Report | Bye | Flush
ToProducer = Welcome | Ack | Refusal | Flushed


class Unread(msgspec.Struct, frozen=True):
    """A record that can't be read here, as it was sent, and why."""

    encoded: bytes
    reason: str
    error_type: ClassVar[str] = ""
    """As no record has it: the set of a batch's error types tells whether all of it is known."""


class Mixed(msgspec.Struct, frozen=True):
    """A batch of which some records can't be read."""

    first_sequence: int
    records: list[Record | Unread]


class _Parcel(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A batch whose records nobody has looked into."""

    first_sequence: Sequence_
    records: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH_RECORDS)]


UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError)
"""What the decoders raise."""
Numbers = TypeVar("Numbers")
_encoder = msgspec.msgpack.Encoder()
_to_sidecar: msgspec.msgpack.Decoder[ToSidecar] = msgspec.msgpack.Decoder(ToSidecar)
_to_producer: msgspec.msgpack.Decoder[ToProducer] = msgspec.msgpack.Decoder(ToProducer)
_parcel = msgspec.msgpack.Decoder(_Parcel)
_record = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """The record as it stands inside a batch frame and in a journal."""
    return _encoder.encode(record)


def encode(message: ToSidecar | ToProducer) -> bytes:
    """One frame, length prefix included."""
    return framed(_encoder.encode(message))


def encode_report(report: Report) -> Iterator[bytes]:
    """The frames of a report, none beyond the limit, however many and long the model ids are that it names."""
    models, in_flight = iter(report.models), iter(report.in_flight.items())
    counters, gauges = report.counters, report.gauges
    while True:
        counts = dict(itertools.islice(in_flight, MODELS_PER_FRAME))
        known = list(itertools.islice(models, MODELS_PER_FRAME - len(counts)))
        if not (counts or known or counters or gauges):
            break
        yield encode(Report(counts, counters, gauges, known))
        counters, gauges = {}, {}
    for labelled in _parts(report.labelled):
        yield encode(Report(labelled=labelled))
    for labelled_gauges in _parts(report.labelled_gauges):
        yield encode(Report(labelled_gauges=labelled_gauges))


def _parts(families: Mapping[str, Mapping[str, Numbers]]) -> Iterator[dict[str, dict[str, Numbers]]]:
    """Of no more label values than a frame takes."""
    values = ((name, *item) for name, of_family in families.items() for item in of_family.items())
    while part := [*itertools.islice(values, LABELS_PER_FRAME)]:
        found: dict[str, dict[str, Numbers]] = {}
        for name, label, numbers in part:
            found.setdefault(name, {})[label] = numbers
        yield found


def clip_reason(reason: str) -> str:
    """A reason in a frame's and a log line's length: it can quote what the peer has sent, a megabyte even."""
    return reason if len(reason) <= MAX_REASON_CHARS else reason[: MAX_REASON_CHARS - 1] + "…"


def encode_batch(first_sequence: int, records: Sequence[bytes | memoryview]) -> bytes:
    """One `Batch` frame of records that `encode_record` made, without decoding them again."""
    head = (
        b"\x93\x03"  # array of 3, tag 3
        + _encoder.encode(first_sequence)
        + b"\xdd"  # array with a u32 count
        + LENGTH.pack(len(records))
    )
    return framed(head, *records)


def decode_to_sidecar(body: bytes | memoryview) -> ToSidecar | Mixed:
    """A frame's body as the sidecar receives it; `FrameError` if it is none. A batch is read in one go, and record by
    record only where that shows that some can't be read."""
    try:
        return _to_sidecar.decode(body)
    except UNREADABLE as error:
        try:
            parcel = _parcel.decode(body)
        except UNREADABLE:
            raise FrameError(f"undecodable frame: {error}") from None
    return Mixed(parcel.first_sequence, [decode_record(bytes(each)) for each in parcel.records])


def decode_record(encoded: bytes) -> Record | Unread:
    """One record by itself."""
    try:
        return _record.decode(encoded)
    except UNREADABLE as error:
        return Unread(encoded, clip_reason(str(error)))


def is_report(body: bytes | memoryview) -> bool:
    """Whether an undecodable frame would be a report: a short array with that tag."""
    return len(body) > 1 and 0x90 <= body[0] <= 0x9F and body[1] == _REPORT_TAG


def decode_to_producer(body: bytes | memoryview) -> ToProducer:
    """A frame's body as a producer receives it; `FrameError` if it is none."""
    try:
        return _to_producer.decode(body)
    except UNREADABLE as error:
        raise FrameError(f"undecodable frame: {error}") from None
