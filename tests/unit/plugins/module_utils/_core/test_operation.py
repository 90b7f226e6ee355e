# SPDX-License-Identifier: GPL-3.0-or-later
"""Histories that were cut, mixed up or written by others are read all the same."""

from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.operation import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    STATUSES,
    TYPES,
    Operation,
    bounded,
    mended,
    read_log,
    seconds_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = seconds_of("2026-11-21T10:00:00Z")
moments = st.integers(0, 10**6).map(lambda more: NOW + more)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        begun = Operation(f"id{number}", draw(st.text(max_size=8)), draw(st.sampled_from(TYPES)), IN_PROGRESS,
                          started_at="2026-11-21T10:00:00Z", bytes_total=draw(st.integers(0, 10**12)))  # fmt: skip
        found.append(begun)
        if draw(st.booleans()):
            error = draw(st.none() | st.text(min_size=1, max_size=20))
            found.append(begun.finished(draw(moments), error=error))
    return found


def is_whole(operation: Operation) -> bool:
    told = operation.as_dict()
    open_ = told["finished_at"] is None and told["duration_seconds"] is None
    closed = isinstance(told["finished_at"], str) and told["duration_seconds"] >= 0
    return (
        told["status"] in STATUSES
        and told["operation_type"] in TYPES
        and 0 <= told["progress"] <= 100
        and (open_ if operation.running else closed)
    )


@settings(max_examples=1000, deadline=None)
@given(histories(), st.data())
def test_a_history_that_is_cut_at_any_byte_is_read(history: list[Operation], data: st.DataObject) -> None:
    raw = "".join(operation.line() for operation in history).encode()
    cut = data.draw(st.integers(0, len(raw)))
    text = raw[:cut].decode("utf-8", "ignore")
    found = read_log(text)
    assert all(map(is_whole, found))
    whole = text.count("\n")
    assert {operation.operation_id for operation in found} >= {entry.operation_id for entry in history[:whole]}
    assert read_log("".join(operation.line() for operation in found)) == found


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from([*Operation.__dataclass_fields__, "x"]), inner, max_size=8)))  # fmt: skip
def test_what_others_wrote_is_mended_or_left_out(record: object) -> None:
    found = mended(record)
    assert found is None or is_whole(found)
    assert read_log(json.dumps(record)) == ([found] if found else [])


def test_the_last_line_of_an_operation_counts() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    text = begun.line() + "rubbish\n" + begun.finished(NOW + 5).line()
    assert [(found.status, found.duration_seconds) for found in read_log(text)] == [(COMPLETED, 5.0)]


def test_a_lost_one_failed_when_it_was_last_seen() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    lost = begun.moved(50, 100, NOW + 20).lost()
    assert (lost.status, lost.finished_at, lost.duration_seconds) == (FAILED, "2026-11-21T10:00:20Z", 20.0)
    assert (lost.progress, lost.reason) == (50, "interrupted")


def test_rate_and_time_to_go() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    moved = begun.moved(1000, 4000, NOW + 10)
    assert (moved.progress, moved.rate, moved.eta_seconds) == (25, 100, 30)
    assert begun.moved(4000, 4000, NOW + 10).progress == 99
    assert begun.moved(0, 0, NOW).eta_seconds is None


@pytest.mark.parametrize("moment", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_moment_that_is_none(moment: str) -> None:
    assert seconds_of(moment) == 0.0


def test_a_history_is_bounded_and_keeps_what_runs() -> None:
    history = [Operation(f"id{number}", "m", status=COMPLETED, finished_at="x") for number in range(10)]
    running = Operation("runs", "m", status=IN_PROGRESS)
    assert [found.operation_id for found in bounded([running, *history], 2)] == ["runs", "id8", "id9"]
