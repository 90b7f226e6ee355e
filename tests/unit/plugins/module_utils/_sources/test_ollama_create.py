# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that Ollama makes on the host, from a GGUF file or from another of its models."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from .conftest import weights

if t.TYPE_CHECKING:
    from .conftest import Ollama, Run

CREATE: dict[str, t.Any] = {"system": "You recite.", "parameters": {"num_ctx": 64, "stop": ["###"]}}


@pytest.fixture
def params(ollama: Ollama, tmp_path: Path) -> dict[str, t.Any]:
    file = tmp_path / "tuned.gguf"
    file.write_bytes(weights("tuned"))
    return {**ollama.params, "model": "tuned", "create": {**CREATE, "path": str(file)}}


def said(ollama: Ollama) -> tuple[str, list[list[str]]]:
    show = ollama.ask("POST", "/api/show", model="tuned")
    return show["system"], sorted(line.split() for line in show["parameters"].splitlines())


def test_a_model_is_made_of_a_file(foreseen: Run, ollama: Ollama, params: dict[str, t.Any], tmp_path: Path) -> None:
    made = foreseen(**params)
    assert made["changed"]
    assert made["plan"]["bytes_to_fetch"] == 0
    assert said(ollama) == ("You recite.", [["num_ctx", "64"], ["stop", '"###"']])
    assert ollama.tags() == {"tuned:latest": made["models"][0]["revision"]}
    assert not ollama.registry.requests
    ollama.daemon.reset()
    assert foreseen(**params)["changed"] is False
    assert "POST /api/create" not in ollama.daemon.requests

    os.utime(tmp_path / "tuned.gguf")
    assert foreseen(**params)["changed"] is False
    (tmp_path / "tuned.gguf").write_bytes(weights("sharpened"))
    assert foreseen(**params)["changed"]
    assert ollama.tags()["tuned:latest"] != made["models"][0]["revision"]
    assert foreseen(**params)["changed"] is False

    colder = {**params, "create": {**params["create"], "parameters": {"num_ctx": 32}, "system": "You sing."}}
    assert foreseen(**colder)["changed"]
    assert said(ollama) == ("You sing.", [["num_ctx", "32"]])
    assert foreseen(**colder)["changed"] is False

    assert foreseen(**colder, state="absent")["changed"]
    assert ollama.tags() == {}
    assert (tmp_path / "tuned.gguf").exists()
    assert foreseen(**colder, state="absent")["changed"] is False


def test_a_made_model_that_somebody_changed_is_made_again(model: Run, ollama: Ollama, params: dict[str, t.Any]) -> None:
    model(**params)
    ollama.ask("POST", "/api/create", model="tuned", **{"from": "tuned", "system": "You lie.", "stream": False})
    assert said(ollama)[0] == "You lie."
    assert model(**params)["changed"]
    assert said(ollama)[0] == "You recite."
    ollama.ask("DELETE", "/api/delete", model="tuned")
    assert model(**params)["changed"]
    assert said(ollama)[0] == "You recite."


def test_a_loaded_model_leaves_memory_before_it_is_made_again(
    model: Run, ollama: Ollama, params: dict[str, t.Any], tmp_path: Path
) -> None:
    model(**params)
    ollama.load("tuned")
    (tmp_path / "tuned.gguf").write_bytes(weights("sharpened"))
    assert "was unloaded" in model(**params)["notes"][0]
    ollama.load("tuned")
    assert ollama.loaded() == list(ollama.tags().items())


def test_a_made_model_whose_bytes_rot_is_made_again(foreseen: Run, ollama: Ollama, params: dict[str, t.Any]) -> None:
    made = foreseen(**params)
    largest = max(made["models"][0]["files"], key=lambda file: file["size"])
    whole = ollama.flip(ollama.models / "blobs" / largest["path"])
    assert foreseen(**params)["changed"] is False
    mended = foreseen(**params, verify="always")
    assert mended["plan"]["steps"][0]["damaged"] == [largest["path"]]
    assert "deleted and made again" in mended["notes"][0]
    assert (ollama.models / "blobs" / largest["path"]).read_bytes() == whole
    assert foreseen(**params, verify="always")["changed"] is False


def test_a_model_is_made_of_another_model(foreseen: Run, ollama: Ollama) -> None:
    ollama.pull(ollama.name)
    params = {**ollama.params, "model": "tuned", "create": {**CREATE, "from": ollama.name}}
    assert foreseen(**params)["changed"]
    assert said(ollama)[0] == "You recite."
    assert foreseen(**params)["changed"] is False
    ollama.publish("second")
    ollama.pull(ollama.name)
    assert foreseen(**params)["changed"]
    assert ollama.blob("second").exists()
    assert not ollama.blob().exists()
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="absent")["changed"]
    assert list(ollama.tags()) == [f"{ollama.name}:latest"]


def test_a_base_that_comes_with_the_making_changes_nothing_later(
    model: Run, ollama: Ollama, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = ollama.daemon.puller.pull
    monkeypatch.setattr(ollama.daemon.puller, "pull", lambda name, _insecure, tell: pull(name, True, tell))
    params = {**ollama.params, "model": "tuned", "create": {"from": ollama.name}}
    assert model(**params)["changed"]
    assert sorted(ollama.tags()) == sorted([f"{ollama.name}:latest", "tuned:latest"])
    assert model(**params)["changed"] is False


@pytest.mark.parametrize(
    ("create", "reason", "words"),
    [
        ({"system": "x"}, "invalid_input", "needs either path or from"),
        ({"path": "/a.gguf", "from": "b"}, "invalid_input", "needs either path or from"),
        ({"path": "/a.gguf", "num_ctx": 4}, "invalid_input", "unknown key 'num_ctx'"),
        ({"path": "/nowhere/a.gguf"}, "path_missing", "/nowhere/a.gguf does not exist"),
    ],
)
def test_what_cannot_be_made_is_said(
    model: Run, ollama: Ollama, create: dict[str, t.Any], reason: str, words: str
) -> None:
    result = model(**{**ollama.params, "create": create})
    assert result["reason"] == reason
    assert words in result["msg"]


def test_a_file_that_is_no_model_is_refused(model: Run, ollama: Ollama, params: dict[str, t.Any]) -> None:
    Path(params["create"]["path"]).write_bytes(b"These are notes, not a model.\n")
    result = model(**params)
    assert result["failed"]
    assert ollama.tags() == {}


def test_the_command_cannot_make_a_model(model: Run, ollama: Ollama, params: dict[str, t.Any]) -> None:
    result = model(**{**params, "endpoint": "http://127.0.0.1:9", "executable": str(ollama.command())})
    assert result["reason"] == "unsupported"
    assert ollama.tags() == {}
