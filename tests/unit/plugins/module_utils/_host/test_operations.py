# SPDX-License-Identifier: GPL-3.0-or-later
"""The history on disk outlives kills, reboots and whatever others write; progress tells of the last seconds."""

from __future__ import annotations

import json
import os
import sys
import threading
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.operation import IN_PROGRESS, Operation, read_log
from ansible_collections.llmops.fleet.plugins.module_utils._host import operation_log, operations, processes, progress
from ansible_collections.llmops.fleet.plugins.module_utils._host.operation_log import OperationLog
from ansible_collections.llmops.fleet.plugins.module_utils._host.operations import Operations
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.progress import Progress

BEGUN = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z", bytes_total=10_000, pid=os.getpid())


@pytest.fixture
def history(tmp_path: Path) -> Operations:
    return Operations(layout_for(root=True, user="", home="", run_home=None, prefix=str(tmp_path)), Owner())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "var/lib/llm/operations.jsonl"


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (operations, progress):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def live(tmp_path: Path, clock: Clock) -> Progress:
    """Without the thread: a test beats itself."""
    del clock
    return Progress(BEGUN, tmp_path / "run/a.json", Owner(), lambda _operation: None)


def told(path: Path) -> dict[str, t.Any]:
    record: dict[str, t.Any] = json.loads(path.read_text())
    return record


# --- rate ---


def test_the_rate_is_that_of_the_last_seconds(live: Progress, clock: Clock, tmp_path: Path) -> None:
    for _second in range(60):
        clock.now += 1
        live.add(100)
    for _second in range(20):
        clock.now += 1
        live.add(10)
    assert told(tmp_path / "run/a.json")["rate"] == 10


def test_a_stalled_pull_has_no_rate(live: Progress, clock: Clock) -> None:
    for _second in range(5):
        clock.now += 1
        live.add(100)
    assert (live.operation.rate, live.operation.eta_seconds) == (100, 95)
    for _second in range(12):
        clock.now += 1
        live.beat()
    assert (live.operation.bytes_done, live.operation.rate, live.operation.eta_seconds) == (500, 0, None)


def test_what_was_there_before_did_not_come_just_now(live: Progress, clock: Clock) -> None:
    clock.now += 1
    live.report(9000, 10_000)
    clock.now += 1
    live.report(9100, 10_000)
    assert (live.operation.rate, live.operation.eta_seconds) == (100, 9)


def test_who_is_late_leaves_no_file_behind(tmp_path: Path) -> None:
    path = tmp_path / "run/a.json"
    live = Progress(BEGUN, path, Owner(), lambda _operation: None)
    live.start()
    assert path.exists()
    live.stop()
    live._said = 0.0
    live.add(1)
    assert not path.exists()


# --- a reboot ---


def test_a_reboot_leaves_bytes_and_when_it_was_last_seen(
    history: Operations, log: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    cut: list[str] = []
    with pytest.raises(PowerCut), history.run("m", "install", 10_000) as live:
        for _second in range(40):
            clock.now += 1
            live.add(100)
            live.beat()
        cut.append(log.read_text())
        raise PowerCut
    log.write_text(cut[0])
    monkeypatch.setattr(processes, "_boot", lambda: "another")
    (found,) = history.all()
    assert (found.status, found.reason) == ("failed", "interrupted")
    assert 2000 <= found.bytes_done < 4000
    assert 30 <= (found.duration_seconds or 0) < 40


# --- kills ---


def test_a_kill_at_any_point_loses_nothing_of_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_log, "_LONGEST", 2000)
    path = tmp_path / "operations.jsonl"
    ended = [
        Operation(f"id{number:03}", "m", started_at="2026-11-21T10:00:00Z").finished(1e9).line() for number in range(40)
    ]
    expected = read_log("".join(ended))
    ours = {operation_log.__file__, progress.__file__, operation_log.write_text.__code__.co_filename}
    point, killed = 0, 0
    while killed == point:
        path.write_text("".join(ended))
        child = os.fork()
        if child == 0:
            _append_and_die(path, point, ours)
        _child, status = os.waitpid(child, 0)
        killed += os.waitstatus_to_exitcode(status) == 9
        point += 1
        found = read_log(path.read_text())
        assert [one for one in found if one.operation_id != "a"] == expected, f"killed at point {point}"
    assert point > 20
    assert found[-1].operation_id == "a"
    # What a killed one left beside it goes with the next.
    assert sorted(left.name for left in tmp_path.iterdir()) == ["operations.jsonl", "operations.lock"]


def _append_and_die(path: Path, point: int, ours: set[str]) -> t.NoReturn:
    """Append in this process, and end it with the given line that is reached."""
    left = point

    def trace(frame: t.Any, event: str, _argument: object) -> t.Any:
        nonlocal left
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os._exit(9)
        return trace

    try:
        sys.settrace(trace)
        OperationLog(path, Owner()).append(BEGUN)
    finally:
        os._exit(0)


def test_who_waits_for_the_log_writes_to_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_log, "_LONGEST", 1000)
    log = OperationLog(tmp_path / "operations.jsonl", Owner())

    def write(writer: int) -> None:
        for number in range(10):
            log.append(Operation(f"{writer}-{number}", "m", started_at="2026-11-21T10:00:00Z").finished(1e9))

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(log.read()) == 40


def test_the_dead_do_not_fill_the_log(history: Operations, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_log, "_LONGEST", 50_000)
    log.parent.mkdir(parents=True)
    dead = [Operation(f"id{n:04}", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z", pid=2**31 - 1)
            for n in range(400)]  # fmt: skip
    log.write_text("".join(operation.line() for operation in dead))
    with history.run("m", "install", 1):
        pass
    assert len(log.read_text().splitlines()) == 102
    assert log.stat().st_mode & 0o777 == 0o640


# --- broken records ---


@pytest.mark.parametrize(
    "broken",
    [
        '{"operation_id":"a","status":"in_progress","pid":-1}',
        '{"operation_id":"a","status":"in_progress","pid":1e400}',
        "[" * 100_000,
        "\xff",
        '{"operation_id":"a","status":"completed","duration_seconds":NaN}',
        '{"operation_id":"a","status":"in_progress","pid":1,"process_started":[]}',
    ],
)
def test_nothing_broken_makes_a_listing_or_a_run_fail(history: Operations, log: Path, broken: str) -> None:
    log.parent.mkdir(parents=True)
    log.write_text(broken + "\n")
    live = log.parents[3] / "run/llm/progress"
    live.mkdir(parents=True)
    (live / "a.json").write_text(broken)
    for operation in history.all():
        json.dumps(operation.as_dict(), allow_nan=False)
    with history.run("m", "install", 1):
        assert history.all()[-1].running
    assert history.all()[-1].status == "completed"


def test_an_old_record_of_a_living_process_still_runs(history: Operations, log: Path) -> None:
    log.parent.mkdir(parents=True)
    record = {**BEGUN.__dict__, "process_started": processes.started_at(os.getpid())}
    log.write_text(json.dumps(record) + "\n")
    assert history.all()[0].running
    log.write_text(json.dumps({**record, "process_started": 1.0}) + "\n")
    assert not history.all()[0].running


# --- what is said of a failure ---


def test_a_failure_has_its_cause_and_a_sentence_with_the_remedy(history: Operations) -> None:
    failure = LlmError("gated", "The repository is gated.")
    with pytest.raises(LlmError), history.run("m", "install", 5, step=2, steps=3):
        raise failure
    with pytest.raises(OSError, match="full"), history.run("m", "install", 5):
        raise OSError(28, "full", "/x")
    history.note_failure("n", "remove", 7, 1e9, failure)
    early, gated, full = history.all()
    assert (gated.reason, gated.error, gated.message) == ("gated", "The repository is gated.", str(failure))
    assert (gated.step, gated.steps) == (2, 3)
    assert full.reason == "no_space"
    assert (early.model_name, early.operation_type, early.bytes_total, early.status) == ("n", "remove", 7, "failed")
    assert early.started_at == "2001-09-09T01:46:40Z"


def test_a_host_without_threads_still_fetches(history: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(progress, "threading", SimpleNamespace(
        Lock=threading.Lock, Event=threading.Event,
        Thread=lambda **_words: SimpleNamespace(start=lambda: refused(None), is_alive=lambda: False)))  # fmt: skip
    with history.run("m", "install", 5) as live:
        live.add(5)
    assert history.all()[0].status == "completed"
