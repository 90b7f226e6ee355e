# SPDX-License-Identifier: GPL-3.0-or-later
"""Histories that were cut, mixed up or written by others are read all the same."""

from __future__ import annotations

import json
import random

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
    parsed,
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
        and (
            operation.pid is None
            or (isinstance(operation.pid, int) and not isinstance(operation.pid, bool) and operation.pid > 0)
        )
        and (told["duration_seconds"] is None or 0 <= told["duration_seconds"] < 1e15)
        and all(told[name] >= 0 for name in ("bytes_done", "bytes_total", "rate"))
        and json.dumps(told, allow_nan=False).encode()
        and 0 <= told["progress"] <= 100
        and (open_ if operation.running else closed)
    )


def check_cut(history: list[Operation], text: str) -> None:
    found = read_log(text)
    assert all(map(is_whole, found))
    # A record without its line's end is as good.
    whole = text.count("\n") + (text.rpartition("\n")[2] + "\n" in {entry.line() for entry in history})
    assert [entry.operation_id for entry in found] == list({entry.operation_id: 1 for entry in history[:whole]})
    if text.endswith("\n"):
        assert read_log("".join(operation.line() for operation in found)) == found


@settings(max_examples=1000, deadline=None)
@given(histories(), st.data())
def test_a_thousand_histories_are_read_though_they_are_cut(history: list[Operation], data: st.DataObject) -> None:
    text = "".join(operation.line() for operation in history)
    check_cut(history, text[: data.draw(st.integers(0, len(text)))])


def test_a_history_is_read_at_every_length() -> None:
    drawn = random.Random(5)
    for number in range(8):
        history = []
        for count in range(number % 4):
            begun = Operation(f"id{count}", drawn.choice(["qwen", "ä\u2028\n", ""]), drawn.choice(TYPES), IN_PROGRESS,
                              started_at="2026-11-21T10:00:00Z", pid=drawn.randrange(1, 9**6))  # fmt: skip
            history.append(begun.moved(5, 10, NOW + drawn.randrange(9), 1))
            if drawn.random() < 0.7:
                history.append(begun.finished(NOW + 9, error=drawn.choice([None, "no", "ö"]), reason="gated"))
        text = "".join(operation.line() for operation in history)
        for length in range(len(text) + 1):
            check_cut(history, text[:length])


numbers = st.integers(-(10**20), 10**20) | st.floats() | st.booleans()
anything = st.recursive(
    st.none() | numbers | st.text(max_size=5) | st.sampled_from([*STATUSES, *TYPES, "2026-11-21T10:00:00Z", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
records = st.fixed_dictionaries(
    {"operation_id": st.just("a")}, optional=dict.fromkeys([*list(Operation.__dataclass_fields__)[1:], "x"], anything)
)


@settings(max_examples=200, deadline=None)
@given(records)
def test_what_others_wrote_is_mended(record: dict[str, object]) -> None:
    found = mended(record)
    assert found is not None
    assert is_whole(found)
    assert read_log(json.dumps(record)) == [found]
    assert read_log(found.line()) == [found]
    assert is_whole(found.lost())


@given(anything)
def test_what_is_no_record_is_left_out(record: object) -> None:
    assert mended(record) is None


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"operation_id":' * 50_000, "9" * 5000, "\x00", '{"operation_id": ""}', "{"]
)
def test_a_line_that_cannot_be_parsed_is_left_out(line: str) -> None:
    assert parsed(line) is None
    assert [found.operation_id for found in read_log(f'{line}\n{{"operation_id": "a"}}\n')] == ["a"]


@pytest.mark.parametrize("pid", [-1, 0, True, 2**40, 1.5, "7", [1]])
def test_a_number_that_is_no_process_is_none(pid: object) -> None:
    found = mended({"operation_id": "a", "status": "in_progress", "pid": pid})
    assert found
    assert found.pid is None


@pytest.mark.parametrize("length", [-5, float("nan"), float("inf"), True, "5", 10**400])
def test_a_length_that_is_none_is_taken_from_the_times(length: object) -> None:
    record = {"operation_id": "a", "status": "failed", "duration_seconds": length,
              "started_at": "2026-11-21T10:00:00Z", "finished_at": "2026-11-21T10:00:07Z"}  # fmt: skip
    found = mended(record)
    assert found
    assert found.duration_seconds == 7.0
    assert isinstance(found.duration_seconds, float)


def test_the_last_line_of_an_operation_counts() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    text = begun.line() + "rubbish\n" + begun.finished(NOW + 5).line()
    assert [(found.status, found.duration_seconds) for found in read_log(text)] == [(COMPLETED, 5.0)]


def test_a_lost_one_failed_when_it_was_last_seen() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    lost = begun.moved(50, 100, NOW + 20, 1).lost()
    assert (lost.status, lost.finished_at, lost.duration_seconds) == (FAILED, "2026-11-21T10:00:20Z", 20.0)
    assert (lost.progress, lost.reason) == (50, "interrupted")
    assert (lost.error, lost.message) == (
        "Its process ended before it did.",
        "Its process ended before it did. Run it again.",
    )


def test_what_has_ended_does_not_go_on_by_a_line_that_came_late() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    ended = begun.finished(NOW + 5)
    assert read_log(begun.line() + ended.line() + begun.moved(1, 2, NOW + 6, 0).line()) == [ended]
    # One that was given up for lost while it lived can still end.
    assert read_log(begun.lost().line() + ended.line()) == [ended]


def test_rate_and_time_to_go() -> None:
    begun = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z")
    moved = begun.moved(1000, 4000, NOW + 10, 100)
    assert (moved.progress, moved.rate, moved.eta_seconds) == (25, 100, 30)
    assert begun.moved(4000, 4000, NOW + 10, 1).progress == 99
    assert begun.moved(0, 0, NOW, 0).eta_seconds is None
    assert begun.moved(10, 40, NOW, 0).eta_seconds is None
    assert moved.finished(NOW + 20).rate == 200


@pytest.mark.parametrize("moment", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_moment_that_is_none(moment: str) -> None:
    assert seconds_of(moment) == 0.0


def test_a_history_is_bounded_and_keeps_what_runs() -> None:
    history = [Operation(f"id{number}", "m", status=COMPLETED, finished_at="x") for number in range(10)]
    running = Operation("runs", "m", status=IN_PROGRESS)
    assert [found.operation_id for found in bounded([running, *history], lambda _one: True, 2)] == [
        "runs",
        "id8",
        "id9",
    ]


def test_what_never_ended_is_bounded_too() -> None:
    history = [Operation(f"id{number}", "m", status=IN_PROGRESS) for number in range(10)]
    found = bounded(history, lambda operation: operation.operation_id == "id0", 2)
    assert [(one.operation_id, one.status) for one in found] == [("id0", IN_PROGRESS), ("id8", FAILED), ("id9", FAILED)]
