# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import io
import struct
import typing as t

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gguf import LONGEST_ARRAY, read_metadata
from hypothesis import given
from hypothesis import strategies as st
from reciter import gguf, sentence_of

UINT8, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 6, 7, 8, 9, 10
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
ENDS = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])


class Tagged(t.NamedTuple):
    """A value with its type; an array's value is a pair of its element type and a list."""

    kind: int
    value: t.Any


def write(kind: int, value: t.Any, order: str = "<") -> bytes:
    if kind == STRING:
        data = value.encode()
        return struct.pack(f"{order}Q", len(data)) + data
    if kind == ARRAY:
        inner, elements = value
        return struct.pack(f"{order}IQ", inner, len(elements)) + b"".join(write(inner, e, order) for e in elements)
    return struct.pack(f"{order}{FORMATS[kind]}", value)


def header(pairs: dict[str, Tagged], order: str = "<", version: int = 3) -> bytes:
    body = b"".join(
        write(STRING, key, order) + struct.pack(f"{order}I", pair.kind) + write(pair.kind, pair.value, order)
        for key, pair in pairs.items()
    )
    return b"GGUF" + struct.pack(f"{order}IQQ", version, 0, len(pairs)) + body


def start(pairs: int = 1, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, pairs)


def read(data: bytes) -> dict[str, t.Any]:
    return read_metadata(io.BytesIO(data))


class Dribble(io.BytesIO):
    """A stream that gives a byte at a time and cannot go back."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        return super().read(min(size, 1))

    def seekable(self) -> bool:
        return False

    def seek(self, *_where: int) -> int:
        raise AssertionError("a header is read in one direction")


EVERYTHING = {
    "u8": Tagged(0, 255), "i8": Tagged(1, -128), "u16": Tagged(2, 65535), "i16": Tagged(3, -32768),
    "u32": Tagged(4, 2**32 - 1), "i32": Tagged(5, -(2**31)), "f32": Tagged(6, -1.5), "yes": Tagged(7, True),
    "no": Tagged(7, False), "text": Tagged(8, "größer"), "u64": Tagged(10, 2**64 - 1), "i64": Tagged(11, -(2**63)),
    "f64": Tagged(12, 1e300), "empty": Tagged(8, ""),
}  # fmt: skip


@ENDS
@pytest.mark.parametrize("version", [2, 3])
def test_all_types_in_both_byte_orders(order: str, version: int) -> None:
    assert read(header(EVERYTHING, order, version)) == {key: pair.value for key, pair in EVERYTHING.items()}


@ENDS
def test_arrays_are_lists(order: str) -> None:
    pairs = {
        "numbers": Tagged(ARRAY, (UINT32, [1, 2, 3])),
        "texts": Tagged(ARRAY, (STRING, ["a", "", "ü"])),
        "nested": Tagged(ARRAY, (ARRAY, [(UINT8, [1]), (STRING, ["x"]), (BOOL, [])])),
        "last": Tagged(STRING, "here"),
    }
    assert read(header(pairs, order)) == {
        "numbers": [1, 2, 3],
        "texts": ["a", "", "ü"],
        "nested": [[1], ["x"], []],
        "last": "here",
    }


@pytest.mark.parametrize(
    ("kind", "element"),
    [(STRING, "token"), (FLOAT32, 0.5), (UINT64, 7), (ARRAY, (STRING, ["a"])), (ARRAY, (UINT8, []))],
)
def test_long_arrays_are_their_length(kind: int, element: t.Any) -> None:
    pairs = {
        "short": Tagged(ARRAY, (kind, [element] * LONGEST_ARRAY)),
        "long": Tagged(ARRAY, (kind, [element] * (LONGEST_ARRAY + 1))),
        "last": Tagged(STRING, "here"),
    }
    found = read(header(pairs))
    assert len(found["short"]) == LONGEST_ARRAY
    assert (found["long"], found["last"]) == (LONGEST_ARRAY + 1, "here")


def test_a_real_file_is_read_no_further_than_its_pairs() -> None:
    data = gguf(sentence_of("alpha"), "alpha")
    stream = io.BytesIO(data)
    found = read_metadata(stream)
    assert stream.tell() < 10_000 < len(data)
    assert found["general.architecture"] == "llama"
    assert found["general.name"] == "alpha"
    assert found["llama.context_length"] == 512
    assert found["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert found["tokenizer.ggml.tokens"] == found["tokenizer.ggml.token_type"] == 320
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.chat_template"].endswith("assistant:")


def test_a_stream_may_give_less_than_asked() -> None:
    data = header({**EVERYTHING, "long": Tagged(ARRAY, (STRING, ["ab"] * 100))})
    assert read_metadata(Dribble(data)) == read(data)


def test_bytes_that_are_no_text_are_replaced() -> None:
    data = start() + write(STRING, "key") + struct.pack("<IQ", STRING, 2) + b"a\xff"
    assert read(data) == {"key": "a�"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is cut"),
        (b"PK\3\4 and more", "no GGUF file"),
        (start(0, 1), "version 1"),
        (start(0, 4), "version 4"),
        (start(0, 0), "version 0"),
        (start(2**63), "pairs"),
        (start(2), "is cut"),
        (start() + struct.pack("<Q", 2**63), "a text of"),
        (start() + write(STRING, "k") + struct.pack("<I", 13), "unknown type 13"),
        (start() + write(STRING, "k") + struct.pack("<IQ", STRING, 2**63), "a text of"),
        (start() + write(STRING, "k") + struct.pack("<IQ", STRING, 2**20), "is cut"),
        (start() + write(STRING, "k") + struct.pack("<IIQ", ARRAY, UINT32, 2**63), "which no header has"),
        (start() + write(STRING, "k") + struct.pack("<IIQ", ARRAY, STRING, 2**63), "which no header has"),
        (start() + write(STRING, "k") + struct.pack("<IIQ", ARRAY, ARRAY, 2**40), "which no header has"),
        (start() + write(STRING, "k") + struct.pack("<IIQ", ARRAY, UINT32, 2**20), "is cut"),
        (start() + write(STRING, "k") + struct.pack("<IIQ", ARRAY, STRING, 65) + struct.pack("<Q", 2**62), "no header"),
        (start() + write(STRING, "k") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 2000, "deep"),
        (start() + write(STRING, "k") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 65) * 2000, "deep"),
        (start(2) + (write(STRING, "k") + struct.pack("<IB", UINT8, 1)) * 2, "twice"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        read(data)
    told = str(raised.value)
    assert sentence in told
    assert told.endswith(".")
    assert "\n" not in told


class Endless(io.RawIOBase):
    """A header's beginning, and then its pattern for ever."""

    def __init__(self, first: bytes, pattern: bytes) -> None:
        self._rest = first
        self._pattern = pattern
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size:
            self._rest += self._pattern * (1 + size // len(self._pattern))
        data, self._rest = self._rest[:size], self._rest[size:]
        self.given += len(data)
        return data


def test_values_without_end_are_given_up() -> None:
    text = struct.pack("<I", STRING) + write(STRING, "x" * 2**20)
    pairs = b"".join(write(STRING, f"k{number}") + text for number in range(12))
    stream = Endless(start(2**16) + pairs, b"\0")
    with pytest.raises(ValueError, match="bytes of values"):
        read_metadata(t.cast("t.IO[bytes]", stream))
    assert stream.given < 2**24


def test_small_arrays_in_arrays_are_bounded() -> None:
    def nest(inner: bytes, depth: int) -> bytes:
        return (
            inner if not depth else struct.pack("<IQ", ARRAY if depth > 1 else UINT8, 64) + nest(inner, depth - 1) * 64
        )

    data = start() + write(STRING, "k") + struct.pack("<I", ARRAY) + nest(b"\1", 4)
    with pytest.raises(ValueError, match="bytes of values"):
        read(data)


WHOLE = header(
    {
        **EVERYTHING,
        "short": Tagged(ARRAY, (STRING, ["a", "b"])),
        "long": Tagged(ARRAY, (STRING, ["token"] * 70)),
        "numbers": Tagged(ARRAY, (FLOAT32, [1.0] * 70)),
        "deep": Tagged(ARRAY, (ARRAY, [(UINT8, [1, 2])] * 70)),
    }
)


def test_a_header_cut_at_any_byte_is_refused() -> None:
    for end in range(len(WHOLE)):
        with pytest.raises(ValueError):
            read(WHOLE[:end])
    assert len(read(WHOLE)) == len(EVERYTHING) + 4


def survives(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read(data), dict)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    survives(data)


@given(st.integers(0, 70), st.sampled_from([2, 3]), st.binary(max_size=600))
def test_random_pairs_are_refused_or_read(pairs: int, version: int, data: bytes) -> None:
    survives(start(pairs, version) + data)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8))
def test_a_damaged_header_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for position, byte in changes:
        data[position] = byte
    survives(bytes(data))


@given(st.data())
def test_a_real_file_cut_anywhere_is_refused(data: st.DataObject) -> None:
    whole = gguf(sentence_of("beta"), "beta")
    stream = io.BytesIO(whole)
    read_metadata(stream)
    with pytest.raises(ValueError):
        read(whole[: data.draw(st.integers(0, stream.tell() - 1))])
