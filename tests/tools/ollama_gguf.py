# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Ollama stand-ins know about GGUF: the header's values and tensors, the words for a model's details, and
the rewriting that the daemon does to an uploaded file (the same bytes for the same input, but other than the input's).
"""

from __future__ import annotations

import functools
import io
import math
import struct
import typing as t
from dataclasses import dataclass
from pathlib import Path

_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TENSOR_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 8: "Q8_0", 12: "Q4_K", 14: "Q6_K", 30: "BF16"}
# File type 0 (F32) has no word: the real daemon calls it unknown too.
_FILE_TYPES = {1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 15: "Q4_K_M", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16"}
_REWRITTEN = "general.quantization_version"
_MAXIMUM_STRING = 16 << 20


@dataclass(frozen=True)
class Header:
    """Arrays are told as None; `pairs_end` and `infos_end` are offsets in the file."""

    values: dict[str, t.Any]
    tensors: list[dict[str, t.Any]]
    pairs_end: int
    infos_end: int

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor["shape"]) for tensor in self.tensors)

    def of_architecture(self, key: str) -> t.Any:
        return self.values.get(f"{self.architecture}.{key}")


def _take(file: t.BinaryIO, form: str) -> t.Any:
    size = struct.calcsize("<" + form)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("unexpected EOF")
    return struct.unpack("<" + form, data)[0]


def _string(file: t.BinaryIO) -> str:
    length = _take(file, "Q")
    if length > _MAXIMUM_STRING:
        raise ValueError(f"GGUF string length {length} exceeds maximum {_MAXIMUM_STRING}")
    return file.read(length).decode(errors="replace")


def _value(file: t.BinaryIO, kind: int) -> t.Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner = _take(file, "I")
        for _ in range(_take(file, "Q")):
            _value(file, inner)
        return None
    if kind not in _NUMBERS:
        raise ValueError(f"invalid type: {kind}")
    value = _take(file, _NUMBERS[kind])
    return float(f"{value:.7g}") if kind == 6 else value


def _tensor(file: t.BinaryIO) -> dict[str, t.Any]:
    name = _string(file)
    shape = [_take(file, "Q") for _ in range(_take(file, "I"))]
    kind = _take(file, "I")
    _take(file, "Q")
    return {"name": name, "type": _TENSOR_TYPES.get(kind, str(kind)), "shape": shape}


def read_header(file: t.BinaryIO) -> Header:
    if file.read(4) != b"GGUF":
        raise ValueError("supplied file was not in GGUF format")
    _take(file, "I")
    tensors, pairs = _take(file, "Q"), _take(file, "Q")
    values = {}
    for _ in range(pairs):
        key = _string(file)
        values[key] = _value(file, _take(file, "I"))
    pairs_end = file.tell()
    infos = [_tensor(file) for _ in range(tensors)]
    return Header(values, infos, pairs_end, file.tell())


@functools.lru_cache(maxsize=256)
def _cached(path: Path, _changed: int, _size: int) -> Header:
    with path.open("rb") as file:
        return read_header(file)


def header_of(path: Path) -> Header:
    """The header of a file; one that cannot be read has no values at all."""
    try:
        state = path.stat()
        return _cached(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError):
        return Header({}, [], 0, 0)


def rewritten(data: bytes) -> bytes:
    """The file with one more value in its header, as the daemon makes it of what was uploaded."""
    header = read_header(io.BytesIO(data))
    if _REWRITTEN in header.values:
        return data
    alignment = int(header.values.get("general.alignment", 32))
    version, tensors, pairs = struct.unpack_from("<IQQ", data, 4)
    pair = struct.pack("<Q", len(_REWRITTEN)) + _REWRITTEN.encode() + struct.pack("<II", 4, 2)
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, pairs + 1) + data[24 : header.pairs_end] + pair
    head += data[header.pairs_end : header.infos_end]
    body = data[header.infos_end + -header.infos_end % alignment :]
    return head + bytes(-len(head) % alignment) + body


def human_number(number: int) -> str:
    """3212749888 is 3.2B, 676800 is 677K."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{letter}" if size > 1000 and scaled % 1 else f"{scaled:.0f}{letter}"
    return str(number)


def config_of(header: Header) -> dict[str, t.Any]:
    """The words about a model in the configuration that goes with it."""
    family = header.architecture
    return {
        "model_format": "gguf",
        "model_family": family,
        "model_families": [family],
        "model_type": human_number(header.parameters),
        "file_type": _FILE_TYPES.get(int(header.values.get("general.file_type", 0)), "unknown"),
    }
