# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

from ansible_collections.llmops.fleet.plugins.module_utils._core.chunks import Chunk, parse, render
from hypothesis import given
from hypothesis import strategies as st

lengths = st.lists(st.integers(1, 1 << 40), max_size=20)


def chunks_of(sizes: list[int]) -> list[Chunk]:
    made, start = [], 0
    for number, size in enumerate(sizes):
        made.append(Chunk(start, size, hashlib.sha256(str(number).encode()).hexdigest()))
        start += size
    return made


@given(lengths)
def test_what_is_written_is_read(sizes: list[int]) -> None:
    assert parse(render(chunks_of(sizes))) == chunks_of(sizes)


@given(lengths, st.data())
def test_a_list_that_is_cut_anywhere_has_only_whole_parts(sizes: list[int], data: st.DataObject) -> None:
    text = render(chunks_of(sizes))
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert parse(cut) == chunks_of(sizes)[: len(parse(cut))]


@given(st.text())
def test_rubbish_is_no_part(text: str) -> None:
    assert all(chunk.length > 0 for chunk in parse(text))


def test_a_mended_part_replaces_the_old_one() -> None:
    old, mended = Chunk(0, 5, "a" * 64), Chunk(0, 5, "b" * 64)
    assert parse(render([old, Chunk(5, 5, "c" * 64), mended])) == [mended, Chunk(5, 5, "c" * 64)]


def test_nothing_follows_a_gap() -> None:
    assert parse(render([Chunk(0, 5, "a" * 64), Chunk(6, 5, "b" * 64)])) == [Chunk(0, 5, "a" * 64)]
