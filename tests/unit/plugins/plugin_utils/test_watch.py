# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress on a real terminal, through a real run of Ansible against a slow hub."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import typing as t
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.clock import written
from ansible_collections.llmops.fleet.plugins.module_utils._core.operation import IN_PROGRESS, Operation
from ansible_collections.llmops.fleet.plugins.module_utils._host.place import layout_here
from ansible_collections.llmops.fleet.plugins.plugin_utils import watch
from ansible_collections.llmops.fleet.plugins.plugin_utils.watch import look_command, seen
from faults.bench import as_nobody
from hub import Hub

BIN = Path(sys.executable).parent
SIZE = 12_000_000
# What the progress of a model looks like; the name comes first on a line, or after "model 2 of 5".
LINE = re.compile(
    r"^(\S+) \| (?:model (\d) of (\d), )?(\S+): \d+ %, \d+\.\d MB of (\S+) MB, \d+\.\d MB/s(, 0:\d\d to go)?$"
)


class Playbook:
    """One play on this host, with tasks that pull slowly."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder = folder
        self.hub = hub
        self.tasks: list[dict[str, t.Any]] = []
        self.python = sys.executable

    def publish(self, name: str, seconds: float, size: int = SIZE) -> str:
        """A model that takes so long."""
        repository = f"org/{name}"
        self.hub.publish(repository, {f"{name}.bin": name[:1].encode() * size})
        self.hub.fault(f"{name}.bin", rate=int(size / seconds))
        return repository

    def pull(self, **words: t.Any) -> dict[str, t.Any]:
        """A task; what is no word of a task is an option of the module."""
        keywords = {"loop", "async", "poll", "delegate_to", "become", "become_user", "become_method", "environment", "vars",
                    "register"}  # fmt: skip
        options = {"endpoint": self.hub.url, "prefix": str(self.folder / "host"), "workers": 1, "timeout": 20, **words}
        task = {word: options.pop(word) for word in list(options) if word in keywords}
        made = {"name": "Pull", **task, "llmops.fleet.llm_model": {k: v for k, v in options.items() if v is not None}}
        self.tasks.append(made)
        return made

    def words(self, *more: str) -> list[str]:
        play = [
            {
                "hosts": "all",
                "gather_facts": False,
                "vars": {"ansible_python_interpreter": self.python},
                "tasks": self.tasks,
            }
        ]
        path = self.folder / "play.json"
        path.write_text(json.dumps(play))
        return [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(path), *more]


@pytest.fixture
def playbook(tmp_path: Path, hub: Hub) -> Playbook:
    return Playbook(tmp_path, hub)


@pytest.fixture
def words(playbook: Playbook) -> list[str]:
    """The command of a play that pulls a model for about six seconds."""
    playbook.pull(name="slow", model=playbook.publish("slow", 6))
    return playbook.words()


def on_a_terminal(words: t.Sequence[str], columns: int, more: t.Mapping[str, str] | None = None) -> str:
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "ANSIBLE_NOCOLOR": "1", "COLUMNS": str(columns), **(more or {})}
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


def lines_of(shown: str) -> list[re.Match[str]]:
    return [found for found in map(LINE.match, shown.splitlines()) if found]


def installed(folder: Path) -> list[str]:
    manifest = json.loads((folder / "host/var/lib/llm/models/manifest.json").read_text())
    return [record["name"] for record in manifest["models"]]


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_shows_how_far_it_is(words: list[str], columns: int) -> None:
    shown = on_a_terminal(words, columns)
    found = lines_of(shown)
    assert [(line[1], line[2], line[4], line[5]) for line in found[:1]] == [("localhost", None, "slow", "12.0")]
    assert found[0][6]
    assert all(len(line) < columns for line in shown.splitlines() if " | " in line)


def test_a_file_has_no_such_lines(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not lines_of(done.stdout + done.stderr)


def live_file(run: Path, name: str) -> None:
    """A pull by somebody else that goes on."""
    folder = run / "progress"
    folder.mkdir(parents=True, exist_ok=True)
    now = written(time.time() + 3600)
    live = Operation("live", name, status=IN_PROGRESS, started_at=now, pid=os.getpid(), bytes_total=10**8)
    (folder / "live.json").write_text(replace(live, bytes_done=10**7, seen_at=now).line())
    folder.chmod(0o777)


@pytest.mark.parametrize("check", [True, False])
def test_a_check_looks_at_nothing(playbook: Playbook, hub: Hub, check: bool) -> None:
    playbook.publish("slow", 1)
    playbook.pull(name="slow", model="org/slow")
    live_file(playbook.folder / "host/run/llm", "slow")
    hub.fault("/api", hang=6, times=1)
    shown = on_a_terminal(playbook.words(*["--check"] * check), 100)
    # The same without --check shows it, so there was something to be seen.
    assert bool(lines_of(shown)) is not check
    assert not (check and hub.sent["slow.bin"])


def test_models_of_a_list_are_summed_and_v_tells_of_each(playbook: Playbook) -> None:
    models = [{"name": name, "model": playbook.publish(name, 5, SIZE // 2)} for name in ("first", "second")]
    playbook.pull(models=models)
    shown = lines_of(on_a_terminal(playbook.words("-v"), 200))
    summary = [line for line in shown if line[2]]
    assert {line[5] for line in summary} == {"12.0"}
    assert [(line[2], line[3], line[4]) for line in summary[:2]] == [("1", "2", "first"), ("2", "2", "second")]
    assert {line[5] for line in shown if not line[2]} == {"6.0"}
    # On a busy machine the second can be there before its first line is due.
    assert {line[4] for line in shown if not line[2]} in ({"first"}, {"first", "second"})


def test_the_items_of_a_loop_go_on_with_one_pace(playbook: Playbook) -> None:
    # None of them takes as long as it takes to the first line.
    names = ["one", "two", "three"]
    for name in names:
        playbook.publish(name, 2.5)
    playbook.pull(name="{{ item }}", model="org/{{ item }}", loop=names)
    assert 1 <= len(lines_of(on_a_terminal(playbook.words(), 100))) <= 3
    assert installed(playbook.folder) == sorted(names)


def test_a_delegated_pull_is_watched_where_it_runs(playbook: Playbook) -> None:
    playbook.pull(name="slow", model=playbook.publish("slow", 6), delegate_to="127.0.0.1",
                  vars={"ansible_connection": "local"})  # fmt: skip
    assert lines_of(on_a_terminal(playbook.words(), 100))
    assert installed(playbook.folder) == ["slow"]


def test_async_works_as_ever(playbook: Playbook) -> None:
    # Ansible's own wrapper for async takes no interpreter whose path has a space.
    python = playbook.folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    playbook.python = str(python)
    for name in ("one", "three"):
        playbook.publish(name, 5)
    playbook.pull(name="{{ item }}", model="org/{{ item }}", loop=["one"], **{"async": 60, "poll": 1})
    playbook.pull(name="three", model="org/three", register="job", **{"async": 60, "poll": 0})
    wait = {"ansible.builtin.async_status": {"jid": "{{ job.ansible_job_id }}"}, "register": "done",
            "until": "done is finished", "retries": 30, "delay": 1, "failed_when": "not done.changed"}  # fmt: skip
    playbook.tasks.append(wait)
    assert not lines_of(on_a_terminal(playbook.words(), 100))
    assert installed(playbook.folder) == ["one", "three"]


@pytest.fixture
def open_folder() -> t.Iterator[Path]:
    """Where other users can go; the folders of tests are root's alone."""
    with tempfile.TemporaryDirectory(prefix="llm-test-", dir="/tmp") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_is_watched_where_that_user_writes(playbook: Playbook, open_folder: Path) -> None:
    system = Path("/usr/bin/python3")
    if not system.exists():
        pytest.skip("nobody may run no Python")
    packages = sysconfig.get_path("purelib")
    probe = [str(system), "-c", "import psutil, requests, huggingface_hub"]
    if subprocess.run(probe, env={"PYTHONPATH": packages}, user=65534, check=False, capture_output=True).returncode:
        pytest.skip("the Python that nobody may run takes none of our packages")
    playbook.python = str(system)
    method = "sudo" if shutil.which("sudo") else "su"
    playbook.pull(
        name="slow",
        model=playbook.publish("slow", 7),
        prefix=None,
        store=str(open_folder / "models"),
        become=True,
        become_user="nobody",
        become_method=method,
        vars={"ansible_become_flags": "-s /bin/sh"} if method == "su" else {},
        environment={"PYTHONPATH": packages, "XDG_RUNTIME_DIR": str(open_folder), "HF_HOME": str(open_folder / "hf")},
    )
    shown = on_a_terminal(playbook.words(), 120)
    assert lines_of(shown), shown
    assert {path.owner() for path in open_folder.rglob("*.bin")} == {"nobody"}


def test_the_files_are_looked_for_where_the_module_writes_them(open_folder: Path) -> None:
    def look(prefix: str, **environment: str) -> dict[str, t.Any]:
        os.environ.pop("XDG_RUNTIME_DIR", None)
        os.environ.update(environment)
        live_file(Path(layout_here(prefix and str(Path(prefix).expanduser())).run), "m")
        told = subprocess.run(look_command(prefix), shell=True, capture_output=True, text=True, check=False)
        return {"found": len(seen(told.stdout, {"m"})), "error": told.stderr}

    for prefix, environment in (
        (str(open_folder / "a folder's"), {}),
        ("~/below", {"HOME": str(open_folder)}),
        ("", {"XDG_RUNTIME_DIR": str(open_folder / "session of")}),
    ):
        call = partial(look, prefix, **environment)
        assert as_nobody(call) == {"found": 1, "error": ""}, (prefix, environment)


def test_a_user_without_a_session_has_the_files_at_home() -> None:
    script = shlex.split(look_command(""))[2].replace("cat ", "echo ").replace("/*.json", "")
    told = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, user=65534, env={"HOME": "/x"}, check=False
    )
    assert told.stdout.splitlines()[1] == "/nonexistent/.local/share/llm/run/progress"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert told.stdout.splitlines()[1] == "/run/llm/progress"


def test_what_a_killed_run_left_is_not_shown() -> None:
    live = Operation("a", "m", status=IN_PROGRESS, started_at="2026-11-21T10:00:00Z", seen_at="2026-11-21T10:00:50Z")
    other = replace(live, operation_id="b", model_name="n")
    told = f"Welcome\r\n2026-11-21T10:01:00Z\r\n{live.line()}{other.line()}[\n"
    assert seen(told, {"m"}) == [live]
    assert seen(told.replace("10:01:00", "10:02:00"), {"m"}) == []


@pytest.mark.parametrize("columns", [80, 200])
def test_what_is_a_terminal_is_asked_of_the_output(columns: int) -> None:
    ask = f"from {watch.__name__} import on_a_terminal; print(on_a_terminal())"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert on_a_terminal([sys.executable, "-c", ask], columns, paths).splitlines()[-1] == "True"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False,
                          env={**os.environ, **paths, "COLUMNS": str(columns)})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"


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
    assert [path.stat().st_size for path in (tmp_path / "host").rglob("slow.bin")] == [SIZE]
    # What the broken connection is still pouring out is not counted: what was asked for is.
    assert hub.ranges == ([f"slow.bin {left}-{SIZE}"] if left else [])


def processes_at(folder: Path) -> list[str]:
    """Processes that have a file of the folder open: a run holds the store's lock for as long as it lasts."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and int(process.name) != os.getpid():
                opened = [os.readlink(file) for file in (process / "fd").iterdir()]
                found += [process.name] if any(path.startswith(f"{folder}/") for path in opened) else []
    return found
