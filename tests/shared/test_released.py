"""Frames of the last release are read by this one."""

import msgspec

from shared.record import ErrorType, Record
from shared.wire import (
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Refusal,
    Report,
    Welcome,
    decode_to_producer,
    decode_to_sidecar,
    encode_batch,
    encode_record,
)
from tests.released import FRAMES, RECORD_COUNT

P = "00112233445566778899aabbccddeeff"
KINDS = [*ErrorType][:9]  # in the order in which they were written
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_each_message_of_the_last_release_is_read() -> None:
    """By whichever side it is for, with all that it says."""
    sidecar = {name: decode_to_sidecar(FRAMES[name][4:]) for name in ("hello", "report", "flush", "bye")}
    assert sidecar == {
        "hello": Hello(1, P, 1, ["gpt-3.5", "gpt-4"]),
        "report": Report(
            {"gpt-4": 2},
            {"invoker_requests_rejected_total": {"invalid_json": 3}},
            {"invoker_connections": 4.0},
            ["gpt-3.5"],
        ),
        "flush": Flush(),
        "bye": Bye(),
    }
    producer = {name: decode_to_producer(FRAMES[name][4:]) for name in ("welcome", "ack", "flushed", "refusal")}
    assert producer == {
        "welcome": Welcome(1, 0),
        "ack": Ack(RECORD_COUNT),
        "flushed": Flushed(),
        "refusal": Refusal("records can't be read", [3]),
    }


def test_records_of_the_last_release_are_read_with_defaults() -> None:
    """Fields that it did not know have their default."""
    batch = decode_to_sidecar(FRAMES["batch"][4:])
    assert isinstance(batch, Batch)
    first_us = 1_700_000_000_000_000
    assert batch.records == [
        Record("gpt-3.5", first_us, 1234, None, "", 5, 7, TRACE),
        Record("模型/2", first_us + 1, 999_999),
        *(Record("gpt-4", first_us + 2 + n, 1000 + n, kind, f"why {n}", n) for n, kind in enumerate(KINDS)),
    ]
    (_, _, encoded) = msgspec.msgpack.decode(FRAMES["batch"][4:], type=tuple[int, int, list[msgspec.Raw]])
    assert len(encoded) == RECORD_COUNT
    assert decode_to_sidecar(encode_batch(1, [encode_record(record) for record in batch.records])[4:]) == batch
