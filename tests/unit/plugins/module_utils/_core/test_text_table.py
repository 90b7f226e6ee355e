# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a terminal's width: nothing is wider, and nothing of the last column is lost."""

from __future__ import annotations

from ansible_collections.llmops.fleet.plugins.module_utils._core.text_table import WIDTH, fold, table
from hypothesis import given
from hypothesis import strategies as st

_words = st.text(st.sampled_from("abcXYZ019/. …"), max_size=150)


@given(st.data(), st.integers(2, 12))
def test_no_table_is_wider_than_a_terminal(data: st.DataObject, columns: int) -> None:
    rows = data.draw(st.lists(st.lists(_words, min_size=columns, max_size=columns), min_size=1, max_size=4))
    titles = data.draw(st.lists(st.text("t", min_size=1, max_size=9), min_size=columns, max_size=columns))
    lines = table(titles, rows, "    ", left=data.draw(st.integers(0, 1)))
    assert max(map(len, lines)) <= WIDTH
    told = "".join("".join(lines).split())
    assert all(character in told for row in rows for character in row[-1].split())


@given(_words, st.integers(0, 8), st.integers(0, 60))
def test_no_line_is_wider_and_no_word_is_lost(text: str, indent: int, more: int) -> None:
    lines = fold(text, " " * indent, more=" " * more)
    assert max(map(len, lines)) <= WIDTH
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_row_with_every_figure_is_one_line_and_its_last_cell_is_folded() -> None:
    titles = ["name", "status", "phase", "model", "port", "pid", "memory", "vram", "up", "restarts", "gen", "proof"]
    row = ["assistant-de", "never served", "starting", "a-model-with-a-name", "34337", "4194304", "123.4 GB", "123.4 GB",
           "12d 12h", "100", "1000", "tokens, ok, 12s ago, 1234.5 tokens/s"]  # fmt: skip
    head, first, *rest = table(titles, [row])
    assert head.split() == [title.upper() for title in titles]
    assert "34337  4194304  123.4 GB" in first
    assert rest
    assert "".join("".join([first, *rest]).split()).endswith("tokens/s")
