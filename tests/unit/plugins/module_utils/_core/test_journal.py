# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from ansible_collections.llmops.fleet.plugins.module_utils._core import journal
from ansible_collections.llmops.fleet.plugins.module_utils._core.journal import Entry
from hypothesis import given
from hypothesis import strategies as st

BEFORE = (journal.DRAIN, journal.STOP_OTHERS, journal.LEAVE, journal.WRITE)
WRITTEN = (journal.RESTART, journal.WAIT, journal.LOAD, journal.PROVE, journal.COMMIT)
BEGIN = journal.begin(1, "now", from_generation=1, to_generation=2, was_up=True)


def lines(*steps: str) -> str:
    return BEGIN.as_line() + "".join(Entry(1, step, "later").as_line() for step in steps)


def left(*steps: str) -> journal.Transaction | None:
    return journal.pending(journal.parse(lines(*steps)))


def test_what_is_ended_is_not_left() -> None:
    assert left(*BEFORE, *WRITTEN, journal.COMMITTED) is None
    assert left(journal.WRITE, journal.ROLL_BACK, journal.ROLLED_BACK) is None
    assert left(journal.WRITE, journal.GIVEN_UP) is None
    assert journal.pending([]) is None


def test_the_step_that_was_begun_last_is_told() -> None:
    for step in (*BEFORE, *WRITTEN, journal.ROLL_BACK):
        found = left(journal.DRAIN, step)
        assert found is not None
        assert (found.step, found.from_generation, found.to_generation) == (step, 1, 2)
        assert found.touched == (step != journal.DRAIN)
        assert found.has_written == (step in WRITTEN)


def test_who_was_stopped_is_remembered() -> None:
    text = BEGIN.as_line() + Entry(1, "stop others", "later", {"stopped": ["big"]}).as_line()
    found = journal.pending(journal.parse(text + Entry(1, "write", "later").as_line()))
    assert found is not None
    assert found.stopped == ("big",)


def test_a_line_cut_at_any_byte_was_not_begun() -> None:
    whole = lines("drain", "write")
    for length in range(len(whole)):
        found = journal.pending(journal.parse(whole[:length]))
        complete = whole[:length].count("\n") + (length and json_ends(whole[:length]))
        expected = [None, "begin", "drain", "write"][complete]
        assert (found.step if found else None) == expected, length


def json_ends(text: str) -> bool:
    """Whether the last line is whole but for its line break."""
    last = text.rpartition("\n")[2]
    try:
        return bool(last and json.loads(last))
    except ValueError:
        return False


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from([lines("write"), "[" * 10_000, '{"transaction": 1}']))))
def test_nonsense_is_passed_over(texts: list[str]) -> None:
    journal.pending(journal.parse("\n".join(texts)))


def test_old_transactions_go() -> None:
    entries = [
        entry
        for number in range(1, 100)
        for entry in (
            journal.begin(number, "now", from_generation=None, to_generation=number, was_up=False),
            Entry(number, journal.COMMITTED, "later", {"seconds": {"write": 0.1}}),
        )
    ]
    kept = journal.transactions(journal.trimmed(entries))
    assert [transaction.number for transaction in kept] == list(range(80, 100))
    assert kept[-1].as_dict()["seconds"] == {"write": 0.1}
