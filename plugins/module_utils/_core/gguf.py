# SPDX-License-Identifier: GPL-3.0-or-later
"""The key-value pairs at the beginning of a GGUF file. Format: ggml, docs/gguf.md.

The pairs stand before the tensors, so that a file of any size is read no further than its header.
"""

from __future__ import annotations

import typing as t

# Arrays with more elements (the tokenizer's, above all) are passed over; their length stands for them.
LONGEST_ARRAY = 64
# What a header may have at most. The largest vocabularies known take some 30 MB of it.
_HEADER_BYTES = 128 * 1024 * 1024
_KEPT_BYTES = 8 * 1024 * 1024
_PAIRS = 65_536
_KEY_BYTES = 65_535
_DEPTH = 4
_BLOCK = 64 * 1024
_VERSIONS = (2, 3)
_BOOL, _STRING, _ARRAY = 7, 8, 9
# Value type to the letter that memoryview.cast has for it (those of the struct module).
_NUMBERS: dict[int, t.Any] = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, _BOOL: 1, 10: 8, 11: 8, 12: 8}
_NATIVE = "little" if memoryview(b"\1\0").cast("H")[0] == 1 else "big"


def read_metadata(stream: t.IO[bytes]) -> dict[str, t.Any]:
    """All pairs by key, read from the stream's position on, which is the file's first byte.

    Arrays of up to LONGEST_ARRAY elements are lists, longer ones their length. Bytes that are not UTF-8
    become replacement characters. Raises ValueError where the header is none, is cut or makes no sense.
    """
    return _Header(stream).pairs()


class _Header:
    """A walk through the header that never goes back and counts what it takes."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._stream = stream
        self._at = 0
        self._kept = 0
        self._order: t.Literal["little", "big"] = "little"

    def pairs(self) -> dict[str, t.Any]:
        magic = self._take(4)
        if magic != b"GGUF":
            raise ValueError(f"This is no GGUF file: it begins with {magic!r}.")
        self._version()
        self._count()  # The number of tensors, of which nothing here is asked.
        count = self._count()
        if count > _PAIRS:
            raise ValueError(f"The GGUF header claims {count} pairs, and at most {_PAIRS} are read.")
        found: dict[str, t.Any] = {}
        for _index in range(count):
            key = self._text(_KEY_BYTES)
            if key in found:
                raise ValueError(f"The GGUF header has the key '{key[:80]}' twice.")
            found[key] = self._value(self._kind(), 0)
        return found

    def _version(self) -> None:
        data = self._take(4)
        version = int.from_bytes(data, "little")
        # Nothing in the file names its byte order. A small number that is read the wrong way is a huge one.
        if version & 0xFFFF == 0:
            self._order = "big"
            version = int.from_bytes(data, "big")
        if version not in _VERSIONS:
            raise ValueError(f"The GGUF file has version {version}, and versions 2 and 3 are read.")

    def _value(self, kind: int, depth: int) -> t.Any:
        if kind == _STRING:
            return self._text(_KEPT_BYTES)
        if kind == _ARRAY:
            return self._array(depth + 1)
        data = self._keep(_SIZES[kind])
        if kind == _BOOL:
            return data != b"\0"
        return memoryview(data if self._order == _NATIVE else data[::-1]).cast(_NUMBERS[kind])[0]

    def _array(self, depth: int) -> list[t.Any] | int:
        if depth > _DEPTH:
            raise ValueError(f"The GGUF header has arrays more than {_DEPTH} deep in each other.")
        kind, length = self._kind(), self._count()
        if length > LONGEST_ARRAY:
            self._pass_over(kind, length, depth)
            return length
        # What an element is in memory is more than its bytes; an empty array in an array has none of its own.
        self._account(8 * length)
        return [self._value(kind, depth) for _index in range(length)]

    def _pass_over(self, kind: int, length: int, depth: int) -> None:
        if kind in _SIZES:
            self._skip(length * _SIZES[kind])
            return
        # A length stands before every string, and a type and a length before every array.
        self._fits(length * (8 if kind == _STRING else 12))
        if kind == _ARRAY and depth >= _DEPTH:
            raise ValueError(f"The GGUF header has arrays more than {_DEPTH} deep in each other.")
        for _index in range(length):
            if kind == _STRING:
                self._skip(self._count())
            else:
                inner, inner_length = self._kind(), self._count()
                self._pass_over(inner, inner_length, depth + 1)

    def _kind(self) -> int:
        kind = self._number(4)
        if kind not in _SIZES and kind not in (_STRING, _ARRAY):
            raise ValueError(f"The GGUF header has a value of the unknown type {kind} before byte {self._at}.")
        return kind

    def _count(self) -> int:
        return self._number(8)

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), self._order)

    def _text(self, most: int) -> str:
        length = self._count()
        if length > most:
            raise ValueError(f"The GGUF header has a text of {length} bytes before byte {self._at}.")
        return self._keep(length).decode("utf-8", errors="replace")

    def _keep(self, size: int) -> bytes:
        self._account(size)
        return self._take(size)

    def _account(self, size: int) -> None:
        self._kept += size
        if self._kept > _KEPT_BYTES:
            raise ValueError(f"The GGUF header has more than {_KEPT_BYTES} bytes of values.")

    def _fits(self, size: int) -> None:
        if self._at + size > _HEADER_BYTES:
            raise ValueError(f"The GGUF header claims {size} bytes at byte {self._at}, which no header has.")

    def _take(self, size: int) -> bytes:
        self._fits(size)
        data = self._read(size)
        while len(data) < size:
            data += self._read(size - len(data))
        return data

    def _skip(self, size: int) -> None:
        # Read, not sought: a position behind the end of a file would not show that it is cut.
        self._fits(size)
        while size:
            size -= len(self._read(size))

    def _read(self, size: int) -> bytes:
        """At least one byte and at most `size` of them; none where none is asked for."""
        data = self._stream.read(min(size, _BLOCK))
        if size and not data:
            raise ValueError(f"The GGUF header is cut: it ends after {self._at} bytes.")
        self._at += len(data)
        return data
