# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress on a real terminal, through a real run of Ansible against a slow hub."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from hub import Hub

BIN = Path(sys.executable).parent
SIZE = 12_000_000


@pytest.fixture
def words(tmp_path: Path, hub: Hub) -> list[str]:
    """The command of a play that pulls a model for about six seconds."""
    hub.publish("org/slow", {"w.bin": bytes(SIZE)})
    hub.fault("w.bin", rate=SIZE // 6)
    model = {"name": "slow", "model": "org/slow", "endpoint": hub.url, "prefix": str(tmp_path / "host"), "workers": 1}
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": [{"name": "Pull", "llmops.fleet.llm_model": model}],
        }
    ]
    (tmp_path / "play.json").write_text(json.dumps(play))
    return [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(tmp_path / "play.json")]


def on_a_terminal(words: t.Sequence[str], columns: int) -> str:
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "ANSIBLE_NOCOLOR": "1", "COLUMNS": str(columns)}
    subprocess.run(["stty", "cols", str(columns), "rows", "40"], stdin=theirs, check=True)
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):
            # A terminal whose last writer has gone gives EIO.
            while block := os.read(ours, 65536):
                shown += block
        assert process.wait() == 0, shown.decode()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_shows_how_far_it_is(words: list[str], columns: int) -> None:
    shown = on_a_terminal(words, columns)
    lines = [line for line in shown.splitlines() if line.startswith("localhost | slow: ")]
    assert lines
    assert re.match(r"localhost \| slow: \d+ %, \d+\.\d MB of 12\.0 MB, \d+\.\d MB/s, 0:\d\d to go", lines[0])
    assert all(len(line) < columns for line in lines)


@pytest.mark.parametrize("more", [[], ["--check"]])
def test_a_file_or_a_check_has_no_such_lines(words: list[str], more: list[str], hub: Hub) -> None:
    if more:
        assert "| slow:" not in on_a_terminal([*words, *more], 100)
        assert not hub.sent
        return
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "| slow:" not in done.stdout + done.stderr


def test_async_loop_and_become_work_as_ever(words: list[str], hub: Hub, tmp_path: Path) -> None:
    hub.reset()
    play = json.loads((tmp_path / "play.json").read_text())
    # Ansible's own wrapper for async takes no interpreter whose path has a space.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    play[0]["vars"]["ansible_python_interpreter"] = str(python)
    task = play[0]["tasks"][0]
    later = {**task, "async": 60, "poll": 1, "loop": ["one", "two"]}
    later["llmops.fleet.llm_model"] = {**task["llmops.fleet.llm_model"], "name": "{{ item }}"}
    fired = {**task, "async": 60, "poll": 0, "register": "job"}
    fired["llmops.fleet.llm_model"] = {**task["llmops.fleet.llm_model"], "name": "three"}
    wait = {"ansible.builtin.async_status": {"jid": "{{ job.ansible_job_id }}"}, "register": "done",
            "until": "done is finished", "retries": 30, "delay": 1, "failed_when": "not done.changed"}  # fmt: skip
    elsewhere = {**task, "delegate_to": "localhost"}
    play[0]["tasks"] = [later, fired, wait, elsewhere]
    (tmp_path / "play.json").write_text(json.dumps(play))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    manifest = json.loads((tmp_path / "host/var/lib/llm/models/manifest.json").read_text())
    assert [record["name"] for record in manifest["models"]] == ["one", "slow", "three", "two"]


@pytest.mark.parametrize("after", [2.0, 3.0, 4.0, 5.0, 6.0])
def test_an_interrupt_leaves_no_process_and_loses_nothing(
    words: list[str], hub: Hub, tmp_path: Path, after: float
) -> None:
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as play:
        time.sleep(after)
        os.killpg(play.pid, signal.SIGINT)
        play.wait(timeout=20)
    deadline = time.monotonic() + 10
    while processes_at(tmp_path / "host") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_at(tmp_path / "host") == []
    left = sum(path.stat().st_size for path in (tmp_path / "host").rglob("*.partial"))
    hub.reset()
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    assert [path.stat().st_size for path in (tmp_path / "host").rglob("w.bin")] == [SIZE]
    # What the broken connection is still pouring out is not counted: what was asked for is.
    assert hub.ranges == ([f"w.bin {left}-{SIZE}"] if left else [])


def processes_at(folder: Path) -> list[str]:
    """Processes that have a file of the folder open: a run holds the store's lock for as long as it lasts."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and int(process.name) != os.getpid():
                opened = [os.readlink(file) for file in (process / "fd").iterdir()]
                found += [process.name] if any(path.startswith(f"{folder}/") for path in opened) else []
    return found
