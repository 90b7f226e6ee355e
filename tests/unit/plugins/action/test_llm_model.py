# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that lie on the controller, through a real run of Ansible."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def task(tmp_path: Path) -> Run:
    def run(*, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        """One task on this machine as a host; what it answered."""
        module = {"prefix": str(tmp_path / "host"), **params}
        play = [
            {
                "hosts": "localhost",
                "gather_facts": False,
                "vars": {"ansible_python_interpreter": sys.executable},
                "tasks": [
                    {"llmops.fleet.llm_model": module, "register": "answer", "ignore_errors": True},
                    {
                        "ansible.builtin.copy": {
                            "dest": str(tmp_path / "answer.json"),
                            "content": "{{ answer | to_json }}",
                        },
                        "check_mode": False,
                        "diff": False,
                    },
                ],
            }
        ]
        (tmp_path / "play.json").write_text(json.dumps(play))
        words = [
            str(BIN / "ansible-playbook"),
            "-i",
            "localhost,",
            "-c",
            "local",
            "--diff",
            str(tmp_path / "play.json"),
        ]
        done = subprocess.run([*words, *(["--check"] if check else [])], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, t.Any] = json.loads((tmp_path / "answer.json").read_text())
        return answer

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in a folder beside the playbook, as controllers have it."""
    root = tmp_path / "files" / "tuned"
    (root / "sub").mkdir(parents=True)
    (root / "config.json").write_bytes(b"{}")
    (root / "sub" / "weights.gguf").write_bytes(b"GGUF" + bytes(5000))
    return root


def test_a_folder_of_the_controller(task: Run, folder: Path, tmp_path: Path) -> None:
    params = {"name": "tuned", "source": "file", "path": "tuned", "from_controller": True}
    foreseen = task(check=True, **params)
    assert not (tmp_path / "host").exists()
    made = task(**params)
    assert (foreseen["changed"], made["changed"]) == (True, True)
    assert foreseen["diff"] == made["diff"]
    target = Path(made["models"][0]["folder"])
    assert (target / "sub/weights.gguf").read_bytes() == (folder / "sub/weights.gguf").read_bytes()
    assert task(**params)["changed"] is False
    (folder / "config.json").write_bytes(b'{"newer": true}')
    assert task(models=[params])["changed"]
    assert task(models=[params])["changed"] is False
    assert task(name="tuned", state="absent")["changed"]
    assert not target.exists()


def test_a_missing_path_is_said_of_the_controller(task: Run, folder: Path) -> None:
    result = task(name="tuned", source="file", path="none", from_controller=True)
    assert result["failed"]
    assert "'none' does not exist on the controller" in result["msg"]


def test_other_models_go_straight_to_the_host(task: Run, folder: Path) -> None:
    result = task(name="tuned", source="file", path=str(folder), include=["*.json"])
    assert result["changed"]
    assert [entry["path"] for entry in result["models"][0]["files"]] == ["config.json"]


def test_a_list_with_one_of_them_is_told_as_a_whole(task: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here.gguf").write_bytes(b"GGUF")
    models = [
        {"name": "here", "source": "file", "path": str(tmp_path / "here.gguf")},
        {"name": "lab", "source": "file", "path": "tuned", "from_controller": True},
    ]
    foreseen, real = task(models=models, check=True), task(models=models)
    assert foreseen["plan"] == real["plan"]
    assert foreseen["diff"] == real["diff"]
    assert [step["name"] for step in real["plan"]["steps"] if step["action"] == "fetch"] == ["here", "lab"]


def test_what_was_healed_is_a_warning(task: Run, folder: Path, tmp_path: Path) -> None:
    params = {"name": "tuned", "source": "file", "path": str(folder)}
    assert not task(**params).get("warnings")
    (tmp_path / "host/var/lib/llm/models/manifest.json").unlink()
    assert "was missing" in str(task(**params)["warnings"])
