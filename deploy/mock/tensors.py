"""Tensors of KServe's protocol as the mock server reads and writes them, as JSON and in binary, and 5 more of each
number."""

import math
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

FORMATS = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "FP16": "e", "FP32": "f", "FP64": "d", "BOOL": "?",
}  # fmt: skip
"""As `struct` calls them. BF16, which it has no word for, is the upper half of FP32."""
BITS = {f"{sign}INT{bits}": bits for sign in ("", "U") for bits in (8, 16, 32, 64)}
BYTES, BF16 = "BYTES", "BF16"
DATATYPES = (*FORMATS, BF16, BYTES)


class Tensor(msgspec.Struct):
    """As JSON has it; `data` is nested or flat."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None

    @property
    def elements(self) -> int:
        if any(size < 0 for size in self.shape):
            raise ValueError(f"tensor {self.name!r}: shape {self.shape} has a size below 0")
        return math.prod(self.shape)

    @property
    def binary_bytes(self) -> int | None:
        """Its size, if it is in binary behind the JSON."""
        size = (self.parameters or {}).get("binary_data_size")
        if size is None or (isinstance(size, int) and not isinstance(size, bool) and size >= 0):
            return size
        raise ValueError(f"tensor {self.name!r}: binary_data_size: {size!r} is no number of bytes")


def more_by_five(tensor: Tensor, binary: bytes | None) -> list[Any]:
    """Its elements, each of which is 5 more; integers begin again where their datatype ends, and BOOL and BYTES stay as
    they are. `ValueError` for what is no such tensor."""
    if tensor.datatype not in DATATYPES:
        raise ValueError(f"tensor {tensor.name!r}: datatype {tensor.datatype!r} is none of {', '.join(DATATYPES)}")
    values = _flat(tensor.data) if binary is None else unpacked(tensor.datatype, binary)
    if len(values) != tensor.elements:
        raise ValueError(f"tensor {tensor.name!r}: it has {len(values)} elements, and its shape {tensor.elements}")
    if tensor.datatype in ("BOOL", BYTES):
        return values
    try:
        return _more_numbers(tensor.datatype, values)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"tensor {tensor.name!r}: it has other elements than numbers: {error}") from None


def _more_numbers(datatype: str, values: list[Any]) -> list[Any]:
    bits = BITS.get(datatype)
    if bits is None:
        return [value + 5.0 for value in values]
    low = 0 if datatype.startswith("U") else -(2 ** (bits - 1))
    return [(value + 5 - low) % 2**bits + low for value in values]


def unpacked(datatype: str, binary: bytes) -> list[Any]:
    """The elements of a tensor in binary."""
    if datatype == BYTES:
        return list(_texts(binary))
    if datatype == BF16:
        halves = struct.unpack(f"<{len(binary) // 2}H", binary)
        return [struct.unpack("<f", struct.pack("<I", half << 16))[0] for half in halves]
    letter = FORMATS[datatype]
    try:
        return list(struct.unpack(f"<{len(binary) // struct.calcsize(letter)}{letter}", binary))
    except struct.error:
        raise ValueError(f"{len(binary)} bytes are no whole {datatype}") from None


def packed(datatype: str, values: list[Any]) -> bytes:
    """The other way round."""
    try:
        if datatype == BYTES:
            texts = [value if isinstance(value, bytes) else str(value).encode() for value in values]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        if datatype == BF16:
            return b"".join(struct.pack("<f", value)[2:] for value in values)
        return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{datatype}: {error}") from None


def _texts(binary: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(binary):
        begin = place + 4
        place = begin + int.from_bytes(binary[place:begin], "little")
        if begin > len(binary) or place > len(binary):
            raise ValueError("BYTES: an element ends behind the tensor")
        yield binary[begin:place]


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError("a tensor has neither data nor a binary_data_size")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        flat = list(chain.from_iterable(flat))
    return flat
