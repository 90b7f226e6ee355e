# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper as the program that it is, with small figures in place of its large ones."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import keeper

FIGURES = {
    r"_LOG_BYTES, _LOG_COPIES = .*": "_LOG_BYTES, _LOG_COPIES = 2000, 3",
    r"_FIRST_PAUSE, _LONGEST_PAUSE = .*": "_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.3",
}


class Kept:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state, self.log = folder / "chat.pid", folder / "chat.log"
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self, program: str, variables: str = "") -> subprocess.Popen[bytes]:
        text = inspect.getsource(keeper)
        for pattern, figure in FIGURES.items():
            text, count = re.subn(pattern, figure, text, count=1)
            assert count == 1
        (self._folder / "keeper.py").write_text(text)
        (self._folder / "chat.env").write_text(variables)
        definition = {
            "command": [sys.executable, "-S", "-c", program],
            "environment_files": [str(self._folder / "chat.env"), str(self._folder / "none.env")],
            "log": str(self.log),
            "stop_timeout": 1,
            "user": None,
        }
        (self._folder / "process.json").write_text(json.dumps(definition))
        words = [
            sys.executable,
            "-I",
            *(str(self._folder / name) for name in ("keeper.py", "process.json", "chat.pid")),
        ]
        self.process = subprocess.Popen(words, start_new_session=True)
        return self.process

    def seen(self) -> dict[str, t.Any]:
        return dict(json.loads(self.state.read_text())) if self.state.exists() else {}


@pytest.fixture
def kept(tmp_path: Path) -> t.Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    if made.process:
        made.process.terminate()
        made.process.wait(timeout=20)


def _wait(done: t.Callable[[], t.Any]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_the_log_is_rotated(kept: Kept, tmp_path: Path) -> None:
    kept.keep("for number in range(2000): print(f'line {number}')")
    assert kept.process
    assert kept.process.wait(timeout=20) == 0
    logs = sorted(path.name for path in tmp_path.glob("chat.log*"))
    assert logs == ["chat.log", "chat.log.1", "chat.log.2", "chat.log.3"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.glob("chat.log*"))
    assert kept.log.read_text().splitlines()[-1] == "line 1999"
    assert oct(kept.log.stat().st_mode)[-3:] == "640"


def test_it_gives_up_after_pauses_that_grow(kept: Kept) -> None:
    process = kept.keep("import time; print('at', time.monotonic()); raise SystemExit(3)")
    assert process.wait(timeout=30) == 1
    state = kept.seen()
    assert state["detail"] == "exit status 3, given up after 5 failures"
    assert (state["pid"], state["restarts"]) == (None, 4)
    at = [float(line.split()[1]) for line in kept.log.read_text().splitlines() if line.startswith("at ")]
    pauses = [later - earlier for earlier, later in zip(at, at[1:])]
    assert len(pauses) == 4
    assert pauses[0] >= 0.1
    assert min(pauses[2:]) >= 0.3


def test_an_engine_that_ends_well_is_not_started_again(kept: Kept) -> None:
    assert kept.keep("print('done')").wait(timeout=20) == 0
    assert not kept.state.exists()
    assert kept.log.read_text().count("engine starts") == 1


def test_it_stays_when_it_is_hung_up_and_allows_no_core(kept: Kept) -> None:
    process = kept.keep("import time; time.sleep(600)", 'LLM_RUNTIME="another"\nSPOKEN="a b"\n')
    _wait(lambda: kept.seen().get("pid"))
    pid = kept.seen()["pid"]
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    assert keeper.is_alive(pid, kept.seen()["ticks"])
    limits = keeper.read_proc(pid, "limits").decode()
    assert re.search(r"Max core file size +0 +0 ", limits)
    variables = keeper.read_proc(pid, "environ").split(b"\0")
    # What a user sets cannot hide whose it is.
    assert {b"LLM_RUNTIME=chat", b"SPOKEN=a b"} <= set(variables)
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert keeper.start_ticks(pid) is None
    assert not kept.state.exists()


def test_a_number_that_was_given_away_gets_no_signal() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        ticks = keeper.start_ticks(process.pid)
        assert ticks is not None
        keeper.send(process.pid, ticks - 1, signal.SIGKILL)
        keeper.send(process.pid, None, signal.SIGKILL)
        time.sleep(0.1)
        assert process.poll() is None
        keeper.send(process.pid, ticks, signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL
    keeper.send(process.pid, ticks, signal.SIGKILL)


def test_names_with_anything_in_them_are_read(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.write_text("#!/bin/sh\necho ready\nread word\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        entry = keeper.entry_of(process.pid)
        assert entry
        assert (entry.name, entry.parent, entry.session) == (program.name, os.getpid(), os.getsid(0))
        process.kill()


def test_the_table_is_read_whole() -> None:
    entries = keeper.table()
    assert entries[os.getpid()].parent == os.getppid()
    assert {1, os.getpid()} <= keeper.ancestors(os.getpid(), entries)
    assert os.getpid() in keeper.with_descendants({os.getppid()}, entries)
    assert keeper.with_descendants({2**22 + 1}, entries) == set()
