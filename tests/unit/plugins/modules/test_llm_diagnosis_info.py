# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_diagnosis_info` and the playbook `diagnose`, with a real llama.cpp: what is told, and what never is."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import psutil
import pytest
import yaml

Run = t.Callable[..., dict[str, t.Any]]
BIN = Path(sys.executable).parent
SECTIONS = ["summary", "runtimes", "transactions", "strangers", "processes", "ports", "memory", "gpu", "disk", "models",
            "generations", "operations", "versions", "services", "logs"]  # fmt: skip


@pytest.fixture
def diagnose(run_module: Run, prefix: Path) -> Run:
    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_diagnosis_info", **{"prefix": str(prefix), **params})

    return call


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str, str], None]:
    """Puts a program of our own before those of the machine."""

    def put(name: str, script: str) -> None:
        folder = tmp_path / "tools"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".log"}


def test_a_bare_host_tells_what_there_is_and_stays_bare(run_module: Run, tmp_path: Path) -> None:
    for check in (True, False):
        told = run_module("llm_diagnosis_info", prefix=str(tmp_path / "bare"), check=check)
        assert told["changed"] is False
        assert told["summary"] == "No runtime is here"
        assert list(told["sections"]) == SECTIONS
        assert "  There is no runtime.\n" in (told["sections"]["runtimes"], told["sections"]["logs"])
        assert "! not looked at" not in told["report"]
    assert not (tmp_path / "bare").exists()


def test_everything_of_a_runtime_is_told(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, prefix: Path, free_port: int
) -> None:
    assert runtime(**first)["changed"]
    assert runtime(model="gamma")["rolled_back"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        other = listener.getsockname()[1]
    assert runtime(**{**first, "name": "other", "port": other})["changed"]
    assert runtime(name="other", state="stopped")["changed"]
    before = files_of(prefix)
    told = diagnose(check=True)
    assert diagnose()["summary"] == told["summary"] == "1 of 2 runtimes online; other is offline: no process runs"
    assert files_of(prefix) == before
    sections = told["sections"]
    pid = json.loads((prefix / "run/llm/chat.pid").read_text())["pid"]
    assert "chat: its last activation, " in sections["summary"]
    assert "lxxxx" in sections["summary"]
    assert "online   ready" in sections["runtimes"]
    # It sleeps, or answers just now.
    assert re.search(rf"  {pid}  [SRD] ", sections["processes"])
    assert "llama-server --host 127.0.0.1" in " ".join(sections["processes"].split())
    assert f"{free_port}  127.0.0.1  {pid} " in sections["ports"]
    assert f"{other}  -          nobody" in sections["ports"]
    assert "rolled back" in sections["transactions"]
    assert "failed  gamma" in sections["generations"]
    assert "alpha" in sections["models"]
    assert "The manifest is the truth" in sections["models"]
    assert "5 models, 9 MB of 50.0 GB" in " ".join(sections["disk"].split())
    assert "install" in sections["operations"]
    assert "Limits of chat" in sections["memory"]
    assert "--port ${LLM_PORT}" in " ".join(sections["services"].split())
    assert "unknown model architecture" in sections["logs"]
    assert "llama_cpp 1" in sections["versions"]
    assert [line for line in told["report"].splitlines() if len(line) > 120] == []
    only = diagnose(lines=1)["sections"]["logs"]
    assert "unknown model architecture" not in only
    assert only.count("\n") < 8


def test_no_secret_is_anywhere(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, prefix: Path, tmp_path: Path
) -> None:
    secrets = {
        "key": 'Pl4nted "key" %one', "environment": "Pl4ntedTwo", "own": "Pl4nted-three", "stranger": "Pl4ntedFour",
        "short": "Pl5", "hub": "hf_Pl4ntedFivePl4ntedFive", "keyless": "Pl4nted/six", "words": "Pl4ntedSeven",
    }  # fmt: skip
    done = runtime(
        **first,
        api_key=secrets["key"],
        secrets={"ODDLY_NAMED": secrets["own"], "PIN": secrets["short"]},
        environment={"MY_SERVICE_TOKEN": secrets["environment"]},
    )
    assert done["changed"]
    log = prefix / "var/log/llm/chat.log"
    lines = [
        *(f"the client said {value} to us" for value in secrets.values() if value != secrets["keyless"]),
        f"args: {{'api_key': ['{secrets['keyless']}']}}",
        f"GET /v1/models?key={secrets['keyless']} Authorization: Bearer {secrets['hub']}",
        json.dumps({"api_key": secrets["key"], "pin": secrets["short"]}),
        "x" * 3000 + secrets["own"],
    ]
    with log.open("a") as file:
        file.write("\n".join(lines) + "\n")
    program = tmp_path / "ollama"
    program.write_text("import time\ntime.sleep(60)\n")
    environment = {**os.environ, "OLLAMA_API_KEY": secrets["words"]}
    stranger = subprocess.Popen(
        [sys.executable, str(program), "serve", "--api-key", secrets["stranger"]], env=environment
    )
    try:
        told = diagnose()
    finally:
        stranger.kill()
        stranger.wait()
    assert f"process {stranger.pid} of" in told["sections"]["summary"]
    assert "serve --api-key ***" in " ".join(told["sections"]["strangers"].split())
    text = json.dumps(told, ensure_ascii=False)
    assert [value for value in secrets.values() if value in text or json.dumps(value)[1:-1] in text] == []
    assert not [part for part in ("Pl4nted", "Pl5") if part in text]
    assert "the client said *** to us" in told["sections"]["logs"]
    assert "LLAMA_API_KEY=***" in told["sections"]["services"]


def test_secrets_that_cannot_be_read_leave_out_what_may_show_them(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, prefix: Path
) -> None:
    runtime(**first)
    (prefix / "etc/llm/secrets/strange.env").mkdir()
    told = diagnose()
    assert told["summary"] == "1 of 1 runtime online"
    for name in ("logs", "services", "processes", "strangers"):
        assert "left out, because the secrets that it may have are not known" in told["sections"][name]
    (prefix / "etc/llm/secrets/strange.env").rmdir()


def test_a_tool_that_hangs_takes_its_own_part_only(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, tools: t.Callable[[str, str], None], tmp_path: Path
) -> None:
    runtime(**first)
    tools("nvidia-smi", f"echo $$ >> {tmp_path}/asked\nexec sleep 100")
    begun = time.monotonic()
    told = diagnose()
    assert time.monotonic() - begun < 10.5
    assert told["summary"] == "1 of 1 runtime online"
    assert "nvidia-smi is there and tells of no card" in told["sections"]["gpu"]
    assert "GPU: nvidia-smi is there" in told["sections"]["summary"]
    assert "llama-server" in told["sections"]["processes"]
    asked = [int(line) for line in (tmp_path / "asked").read_text().split()]
    assert asked
    assert not [pid for pid in asked if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_an_engine_that_hangs_is_bounded_too(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, prefix: Path
) -> None:
    pid = runtime(**first)["runtime"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        told = diagnose(timeout=1.5)
        assert time.monotonic() - begun < 2.5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert told["summary"].startswith("0 of 1 runtime online; chat is ")
    assert f"  {pid}  T (stopped)" in told["sections"]["processes"]
    assert f"chat: its process {pid} is in state T (stopped)" in told["sections"]["summary"]
    assert "listening on" in told["sections"]["logs"]


def test_broken_files_cost_their_own_part_only(
    runtime: Run, first: dict[str, t.Any], diagnose: Run, prefix: Path
) -> None:
    runtime(**first)
    runtime(model="beta")
    folder = prefix / "var/lib/llm/runtimes/chat"
    journal = (folder / "journal.jsonl").read_text()
    generation = (folder / "generations/1.json").read_text()
    manifest = (prefix / "var/lib/llm/models/manifest.json").read_text()
    (folder / "journal.jsonl").write_text(f'{journal}{{"transaction": 3, "st')
    (folder / "generations/1.json").write_text(generation[:100])
    (prefix / "var/lib/llm/models/manifest.json").write_text(manifest[:200])
    (prefix / "run/llm/progress").mkdir(exist_ok=True)
    (prefix / "run/llm/progress/odd.json").write_text("[")
    (prefix / "var/lib/llm/runtimes/empty").mkdir()
    told = diagnose()
    summary = told["sections"]["summary"]
    assert "empty has never served" in told["summary"]
    assert "chat: its journal has lines that cannot be read" in summary
    assert "chat: the record 1.json of its generations cannot be read" in summary
    assert "cannot be read as one. It is made anew" in " ".join(summary.split())
    assert "committed" in told["sections"]["transactions"]
    assert "serves  beta" in told["sections"]["generations"]
    assert "alpha" in told["sections"]["models"]
    assert "listening on" in told["sections"]["logs"]
    (folder / "journal.jsonl").unlink()
    (folder / "journal.jsonl").mkdir()
    assert "journal.jsonl: Is a directory" in " ".join(diagnose()["sections"]["transactions"].split())
    (folder / "journal.jsonl").rmdir()
    (folder / "journal.jsonl").write_text(journal)
    (folder / "generations/1.json").write_text(generation)
    (prefix / "var/lib/llm/models/manifest.json").write_text(manifest)
    (prefix / "var/lib/llm/runtimes/empty").rmdir()


def test_a_unit_and_its_journal_are_told(
    diagnose: Run, prefix: Path, tools: t.Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The tools of systemd are played here; the scenarios of Molecule have real ones."""
    from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for
    from ansible_collections.llmops.fleet.plugins.module_utils._host.systemd import Systemd
    from ansible_collections.llmops.fleet.plugins.module_utils._work import diagnose_runtime

    layout = layout_for(root=True, user="root", home="/root", run_home=None, prefix=str(prefix))
    unit = tmp_path / "llm-chat.service"
    unit.write_text('[Service]\nExecStart="/opt/x" \\\n  "--api-key" \\\n  "planted99"\nLimitCORE=0\n')
    monkeypatch.setattr(diagnose_runtime, "choose", lambda *_arguments, **_more: Systemd(layout))
    monkeypatch.setattr(type(layout), "unit_file", lambda _layout, _runtime: str(unit))
    tools(
        "systemctl", "printf 'ActiveState=failed\\nResult=oom-kill\\nNRestarts=5\\nMemoryMax=8000000000\\nMainPID=0\\n'"
    )
    tools("journalctl", "echo 2026-11-21T10:00:00 web-1 llama-server: token=planted98; echo $@")
    (prefix / "var/lib/llm/runtimes/chat").mkdir(parents=True)
    told = diagnose(lines=7)["sections"]
    services = " ".join(told["services"].split())
    assert "ActiveState failed" in services
    assert "MemoryMax 8.0 GB" in services
    assert "ExecStart=/opt/x --api-key *** LimitCORE=0" in services
    assert "llama-server: token=***" in told["logs"]
    assert "--unit llm-chat.service --lines 7" in told["logs"]
    assert "planted" not in json.dumps(told)
    tools("systemctl", "sleep 50")
    tools("journalctl", "echo no such journal >&2; exit 1")
    begun = time.monotonic()
    told = diagnose(timeout=2)["sections"]
    assert time.monotonic() - begun < 3
    assert "systemctl did not return in time" in told["services"]
    assert "journalctl failed: no such journal" in told["logs"]


class TestPlaybook:
    """In real runs of Ansible, on hosts that are all this machine."""

    @pytest.fixture
    def play(self, tmp_path: Path) -> t.Callable[..., str]:
        prepared = tmp_path / "prepared/opt/llm/venv/bin"
        prepared.mkdir(parents=True)
        (prepared / "python").symlink_to(sys.executable)
        described = {"llm_models": [], "llm_runtimes": []}
        hosts = {
            "undescribed": {},
            "bare": {**described, "llm_prefix": str(tmp_path / "bare")},
            "ready-1": {**described, "llm_prefix": str(tmp_path / "prepared")},
            "ready-2": {**described, "llm_prefix": str(tmp_path / "prepared")},
        }
        shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": shared}}))

        def call(*words: str) -> str:
            done = subprocess.run(
                [str(BIN / "ansible-playbook"), "llmops.fleet.diagnose", "-i", str(inventory), *words],
                capture_output=True, text=True, check=False, cwd=tmp_path,
                env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_LOCALHOST_WARNING": "false"},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return call

    def test_each_host_has_its_text_on_the_controller(self, play: t.Callable[..., str], tmp_path: Path) -> None:
        folder = tmp_path / "llm-diagnosis"
        foreseen = play("--check", "--diff", "-e", f"llm_diagnosis_folder={tmp_path}/elsewhere", "--limit", "ready-1")
        assert not folder.exists()
        assert not (tmp_path / "elsewhere").exists()
        assert (
            f"ready-1: No runtime is here. Check mode: nothing is written; the text would be in {tmp_path}/elsewhere/ready-1.txt"
            in foreseen
        )
        said = play("--diff")
        assert "changed=0" in said
        assert "changed=1" not in said
        assert f"ready-2: No runtime is here. The text is in {folder}/ready-2.txt" in said
        assert "bare: this host is not prepared" in said
        assert sorted(path.name for path in folder.iterdir()) == ["ready-1.txt", "ready-2.txt"]
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
        for path in folder.iterdir():
            assert oct(path.stat().st_mode & 0o777) == "0o600"
            assert path.read_text().startswith("Diagnosis of ")
        assert "VERSIONS" not in said


COLLECTIONS = str(Path(__file__).resolve().parents[4] / ".cache" / "collections")
