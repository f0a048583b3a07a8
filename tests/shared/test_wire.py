"""The frames between gateway and sidecar."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.framing import MAX_FRAME_BYTES, FrameError, FrameReader
from shared.record import MAX_COUNT, MAX_TIMESTAMP_US, ErrorType, Record
from shared.wire import (
    LABELS_PER_FRAME,
    MAX_BATCH_RECORDS,
    MAX_MODELS,
    MODELS_PER_FRAME,
    OLDEST_VERSION,
    OVERHEAD_BOUNDS_S,
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Mixed,
    Refusal,
    Report,
    ToProducer,
    ToSidecar,
    Unread,
    Welcome,
    clip_reason,
    decode_record,
    decode_to_producer,
    decode_to_sidecar,
    encode,
    encode_batch,
    encode_record,
    encode_report,
    is_report,
)

model_ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256)
counts = st.integers(0, MAX_COUNT)
sequences = st.integers(1, 2**62)
producer_ids = st.text("0123456789abcdef", min_size=32, max_size=32)
labels = st.text(max_size=64)
records = st.builds(
    Record,
    model_id=model_ids,
    timestamp_us=st.integers(0, MAX_TIMESTAMP_US),
    latency_us=counts,
    error_type=st.none() | st.sampled_from(ErrorType),
    error_log=st.text(max_size=200),
    input_size=counts,
    output_size=counts,
    protocol=st.none() | st.sampled_from(["worklet", "openai", "of_a_later_release"]),
    streamed=st.none() | st.booleans(),
    cost_nano_usd=st.none() | counts,
    tags=st.none() | st.dictionaries(st.text("ab-_9", min_size=1, max_size=64), st.just("ü b"), max_size=8),
)
to_sidecar = st.one_of(
    st.builds(Hello, st.integers(0, 100), producer_ids, sequences, st.lists(model_ids, max_size=3)),
    st.builds(Batch, sequences, st.lists(records, min_size=1, max_size=5)),
    st.builds(
        Report,
        st.dictionaries(model_ids, counts, max_size=3),
        st.dictionaries(labels, st.dictionaries(labels, counts, max_size=3), max_size=3),
        st.dictionaries(labels, st.floats(allow_nan=False), max_size=3),
        st.lists(model_ids, max_size=3),
    ),
    st.just(Bye()),
    st.just(Flush()),
)
to_producer = st.one_of(
    st.builds(Welcome, st.integers(0, 100), counts),
    st.builds(Ack, counts),
    st.builds(Refusal, st.text(), st.lists(sequences, max_size=3)),
    st.just(Flushed()),
)


def bodies(data: bytes) -> list[bytes]:
    return list(FrameReader().feed(data))


@given(to_sidecar)
def test_the_sidecar_reads_what_a_producer_writes(message: ToSidecar) -> None:
    """Every message to the sidecar survives the wire unchanged."""
    assert [decode_to_sidecar(body) for body in bodies(encode(message))] == [message]


@given(to_producer)
def test_a_producer_reads_what_the_sidecar_writes(message: ToProducer) -> None:
    """Every message to a producer survives the wire unchanged."""
    assert [decode_to_producer(body) for body in bodies(encode(message))] == [message]


@given(sequences, st.lists(records, min_size=1, max_size=20))
def test_a_batch_of_encoded_records_is_the_batch(first_sequence: int, batch: list[Record]) -> None:
    """Joining records that were encoded before gives the frame of the whole batch."""
    frame = encode_batch(first_sequence, [encode_record(record) for record in batch])
    assert [decode_to_sidecar(body) for body in bodies(frame)] == [Batch(first_sequence, batch)]


@given(st.lists(to_sidecar, max_size=5), st.data())
def test_frames_are_found_however_the_stream_is_cut(messages: list[ToSidecar], data: st.DataObject) -> None:
    """A reader fed in any pieces yields the same frames in the same order."""
    stream = b"".join(encode(message) for message in messages)
    reader, found, position = FrameReader(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        found += [decode_to_sidecar(body) for body in reader.feed(stream[position : position + size])]
        position += size
    assert found == messages


@given(st.binary(max_size=300))
def test_random_bytes_are_a_message_or_a_frame_error(body: bytes) -> None:
    """No input makes the decoders raise anything but `FrameError`."""
    for decode in (decode_to_sidecar, decode_to_producer):
        with contextlib.suppress(FrameError):
            decode(body)


@pytest.mark.parametrize(
    "record",
    [
        ["", 1, 1],
        ["m" * 257, 1, 1],
        ["a\nb", 1, 1],
        ["a\n", 1, 1],
        ["m", -1, 1],
        ["m", 1, 2**63],
        ["m", MAX_TIMESTAMP_US + 1, 1],
        ["m", 1, 1, "No such type"],
        ["m", 1, 1, "x" * 65],
        ["m", 1, 1, ""],
        ["m", 1, 1, "timeout", "x" * 2049],
    ],
)
def test_a_record_out_of_bounds_is_not_read(record: list[object]) -> None:
    """The socket is untrusted: what no gateway of this release could have made is no record."""
    mixed = decode_to_sidecar(msgspec.msgpack.encode([3, 1, [record]]))
    assert isinstance(mixed, Mixed)
    (unread,) = mixed.records
    assert isinstance(unread, Unread)
    assert (unread.encoded, 0 < len(unread.reason) <= 500) == (msgspec.msgpack.encode(record), True)


@pytest.mark.parametrize("in_flight", [0, 1, MODELS_PER_FRAME, MODELS_PER_FRAME + 1, MAX_MODELS])
@pytest.mark.parametrize("models", [0, 1, MODELS_PER_FRAME, 2 * MODELS_PER_FRAME + 1])
def test_a_report_of_any_size_fits_its_frames(in_flight: int, models: int) -> None:
    """The longest ids, as many as there may be, beside as much else: all of it arrives, in frames within the limit."""
    ids = ["\U0001f600" * 251 + f"{number:05}" for number in range(MAX_MODELS)]
    label = {"é" * 62 + f"{number:02}": MAX_COUNT for number in range(32)}
    report = Report(
        dict.fromkeys(ids[:in_flight], MAX_COUNT),
        {f"{number}": label for number in range(32)},
        {"a gauge": 1.0},
        ids[:models],
    )
    found = Report()
    for frame in encode_report(report):
        (body,) = bodies(frame)
        part = decode_to_sidecar(body)
        assert isinstance(part, Report)
        found = Report(
            found.in_flight | part.in_flight,
            found.counters | part.counters,
            found.gauges | part.gauges,
            found.models + part.models,
        )
    assert found == report


@pytest.mark.parametrize("count", [1, LABELS_PER_FRAME, LABELS_PER_FRAME + 1, 1001])
def test_families_of_any_size_fit_their_frames(count: int) -> None:
    """Of the longest names, with as much of each as a worker has; no frame is beyond the limit."""
    names = [f"{number:04}" + "\U0001f600" * 252 for number in range(count)]
    numbers = {f"{number:020}": MAX_COUNT for number in range(16)}
    report = Report(
        {"m": 1},
        labelled={"f_total": dict.fromkeys(names, numbers), "g_total": {names[0]: {"": 1}}},
        labelled_gauges={"h": {**dict.fromkeys(names, 0.5), names[0]: None}},
    )
    labelled: dict[str, dict[str, dict[str, int]]] = {}
    gauges: dict[str, dict[str, float | None]] = {}
    for frame in encode_report(report):
        (body,) = bodies(frame)
        part = decode_to_sidecar(body)
        assert isinstance(part, Report)
        for name, values in part.labelled.items():
            labelled.setdefault(name, {}).update(values)
        for name, of_labels in part.labelled_gauges.items():
            gauges.setdefault(name, {}).update(of_labels)
    assert (labelled, gauges) == (report.labelled, report.labelled_gauges)


def test_a_sidecar_of_an_earlier_release_passes_families_over() -> None:
    """It reads what it knows of the same frame, and none of its frames is another message to it."""

    class Earlier(msgspec.Struct, frozen=True, array_like=True, tag=5):
        in_flight: dict[str, int] = {}
        counters: dict[str, dict[str, int]] = {}
        gauges: dict[str, float] = {}
        models: list[str] = []

    report = Report({"m": 1}, labelled={"f_total": {"u": {"x": 1}}}, labelled_gauges={"g": {"u": 1.0}})
    read = [msgspec.msgpack.decode(body, type=Earlier) for frame in encode_report(report) for body in bodies(frame)]
    assert read == [Earlier({"m": 1}), Earlier(), Earlier()]


def test_an_empty_report_is_no_frame() -> None:
    """There is nothing to send where nothing has changed."""
    assert list(encode_report(Report())) == []


@pytest.mark.parametrize("bad", [[0], [2], [1, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize(
    "unreadable", [["m", 1, 1, "Unknown"], [*["m", 1, 1, None, "", 0, 0, None], *[0] * 20], {"model_id": "m"}, None]
)
def test_records_that_cannot_be_read_are_kept_as_they_are(bad: list[int], unreadable: object) -> None:
    """Whole, in their places; a later release reads them by themselves. All others of the batch are read."""
    batch = [unreadable if at in bad else ["m", 1, at] for at in range(4)]
    mixed = decode_to_sidecar(msgspec.msgpack.encode([3, 100, batch]))
    assert isinstance(mixed, Mixed)
    assert mixed.first_sequence == 100
    encoded = msgspec.msgpack.encode(unreadable)
    for at, each in enumerate(mixed.records):
        assert each == (decode_record(encoded) if at in bad else Record("m", 1, at))
        assert isinstance(each, Unread) == (at in bad)
        assert not isinstance(each, Unread) or each.encoded == encoded


def test_a_frame_that_is_bad_in_itself_has_no_records() -> None:
    """Such as a batch of too many."""
    with pytest.raises(FrameError):
        decode_to_sidecar(msgspec.msgpack.encode([3, 100, [["m", 1, 1]] * (MAX_BATCH_RECORDS + 1)]))


def test_the_version_goes_up_with_each_field_of_a_record() -> None:
    """So that a peer can tell by it which fields the other one knows."""
    assert 1 + len(Record.__struct_fields__) - 8 == PROTOCOL_VERSION
    assert Record.__struct_fields__[:8] == (
        *("model_id", "timestamp_us", "latency_us", "error_type", "error_log", "input_size", "output_size", "trace_id"),
    )


@given(st.binary(max_size=50))
def test_a_report_is_told_from_other_frames_whatever_is_in_it(rest: bytes) -> None:
    """By its first two bytes."""
    assert [is_report(head + rest) for head in (b"\x93\x05", b"\x99\x05")] == [True, True]
    assert [is_report(head + rest) for head in (b"\x93\x04", b"\xa3\x05", b"\x93")] == [
        False,
        False,
        rest[:1] == b"\x05",
    ]


def test_a_reason_is_cut_to_a_lines_length() -> None:
    """It can quote what was received."""
    assert [clip_reason("x" * 500), clip_reason("x" * 501)] == ["x" * 500, "x" * 499 + "…"]


def test_what_a_later_version_adds_to_a_message_is_passed_over() -> None:
    """New fields go last, so that either side may be the newer one."""
    later = msgspec.msgpack.encode([5, {"m": 1}, {}, {}, [], {}, {}, "later"])
    assert decode_to_sidecar(later) == Report({"m": 1})
    assert decode_to_producer(msgspec.msgpack.encode([7, "reason"])) == Refusal("reason")


RECORD = Record("m", 1, 2, ErrorType.TIMEOUT, "late", 3, 4)
WRITTEN: list[tuple[ToSidecar | ToProducer, list[object]]] = [
    (Hello(1, "0" * 32, 7, ["m"], 2), [1, 1, "0" * 32, 7, ["m"], 2]),
    (Welcome(1, 5), [2, 1, 5]),
    (Batch(7, [RECORD]), [3, 7, [["m", 1, 2, "timeout", "late", 3, 4, None, None, *[None] * 16]]]),
    (Ack(5), [4, 5]),
    (
        Report({"m": 1}, {"a": {"x": 2}}, {"g": 1.5}, ["n"], {"f": {"u": {"": 3}}}, {"h": {"u": None}}),
        [5, {"m": 1}, {"a": {"x": 2}}, {"g": 1.5}, ["n"], {"f": {"u": {"": 3}}}, {"h": {"u": None}}],
    ),
    (Bye(), [6]),
    (Refusal("why", [3]), [7, "why", [3]]),
    (Flush(), [8]),
    (Flushed(), [9]),
]


@pytest.mark.parametrize(("message", "expected"), WRITTEN)
def test_a_message_is_written_as_other_releases_read_it(
    message: ToSidecar | ToProducer, expected: list[object]
) -> None:
    """By its number and in this order: gateway and sidecar may be of different releases. It is a fact, and changed by
    nobody."""
    frame = encode(message)
    body = msgspec.msgpack.encode(expected)
    assert frame == len(body).to_bytes(4, "big") + body
    with pytest.raises(AttributeError):
        setattr(message, message.__struct_fields__[0] if message.__struct_fields__ else "any", 1)


def test_what_both_sides_have_agreed_on_stays() -> None:
    """Limits that one side keeps and the other one counts on; and what histograms were reported with."""
    limits = (OLDEST_VERSION, MAX_FRAME_BYTES, MAX_BATCH_RECORDS, MAX_MODELS, MODELS_PER_FRAME)
    assert limits == (1, 1_048_576, 4096, 10_000, 500)
    bounds_us = [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000]
    assert [round(bound * 1e6) for bound in OVERHEAD_BOUNDS_S] == bounds_us


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        *(
            ([1, 1, "0" * 32, sequence, []], ok)
            for sequence, ok in ((0, False), (1, True), (2**62, True), (2**62 + 1, False))
        ),
        *(([1, 1, producer, 1, []], False) for producer in ("0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n", "g" * 32)),
        ([1, 1, "0" * 32, 1, ["m"] * MAX_MODELS], True),
        ([1, 1, "0" * 32, 1, ["m"] * (MAX_MODELS + 1)], False),
        ([3, 1, []], False),
        ([3, 1, [["m", 1, 1]] * MAX_BATCH_RECORDS], True),
        ([5, {f"{number}": 1 for number in range(MAX_MODELS)}], True),
        ([5, {f"{number}": 1 for number in range(MAX_MODELS + 1)}], False),
        ([5, {}, {"x" * 64: {"y" * 64: MAX_COUNT}}, {"z" * 64: 1.0}], True),
        ([5, {}, {"x" * 65: {}}], False),
        ([5, {}, {"x": {"y" * 65: 1}}], False),
        ([5, {}, {"x": {"y": MAX_COUNT + 1}}], False),
        ([5, {}, {f"{number}": {} for number in range(64)}], True),
        ([5, {}, {f"{number}": {} for number in range(65)}], False),
        ([5, {}, {"x": {f"{number}": 1 for number in range(64)}}], True),
        ([5, {}, {"x": {f"{number}": 1 for number in range(65)}}], False),
        ([5, {}, {}, {f"{number}": 1.0 for number in range(64)}], True),
        ([5, {}, {}, {f"{number}": 1.0 for number in range(65)}], False),
        ([5, {}, {}, {"z" * 65: 1.0}], False),
        ([5, {}, {}, {}, ["m"] * MAX_MODELS], True),
        ([5, {}, {}, {}, ["m"] * (MAX_MODELS + 1)], False),
        ([2, 1, 1], False),
        ([10], False),
    ],
)
def test_what_the_sidecar_takes_has_bounds(body: list[object], is_allowed: bool) -> None:
    """Each as many, and as long, as it may be; and one more."""
    encoded = msgspec.msgpack.encode(body)
    if is_allowed:
        decode_to_sidecar(encoded)
        return
    with pytest.raises(FrameError):
        decode_to_sidecar(encoded)


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        ([7, "why", [1] * 4096], True),
        ([7, "why", [1] * 4097], False),
        ([7, "why", [0]], False),
        ([4, -1], False),
        ([6], False),
    ],
)
def test_what_a_producer_takes_has_bounds(body: list[object], is_allowed: bool) -> None:
    """As well."""
    encoded = msgspec.msgpack.encode(body)
    with contextlib.nullcontext() if is_allowed else pytest.raises(FrameError):
        decode_to_producer(encoded)


@pytest.mark.parametrize(
    "report",
    [
        Report({"m": 1}),
        Report({}, {"a": {"x": 1}}),
        Report({}, {}, {"g": 1.0}),
        Report({}, {}, {}, ["m"]),
        Report(labelled={"f": {"u": {"x": 1}}}),
        Report(labelled_gauges={"f": {"u": None}}),
    ],
)
def test_a_report_of_one_thing_is_a_frame(report: Report) -> None:
    """And no other frame follows it."""
    assert list(encode_report(report)) == [encode(report)]


@pytest.mark.parametrize(("head", "expected"), [(0x8F, False), (0x90, True), (0x9F, True), (0xA0, False)])
def test_a_report_is_a_short_array(head: int, expected: bool) -> None:
    """Of any length that is written so."""
    assert is_report(bytes([head, 5])) == expected
    assert not is_report(bytes([head]))
    assert not is_report(b"")
