# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests share: real modules run in this process, a real hub, a real engine, free ports."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from hypothesis import settings

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "tools"))

from hub import Hub  # noqa: E402
from ports import another_port  # noqa: E402
from reciter import gguf, sentence_of  # noqa: E402

# The same cases in every run, so that a change is judged by what it changes. `explore` looks for new ones; what it
# finds is added by name to the tests that missed it.
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", max_examples=2000, print_blob=True)
settings.load_profile("steady")

Result = dict[str, t.Any]
RunModule = t.Callable[..., Result]


def _run(module: str, *, check: bool = False, **params: t.Any) -> Result:
    """One run of a module as Ansible does it: arguments in, one JSON document out."""
    program = importlib.import_module(f"ansible_collections.llmops.fleet.plugins.modules.{module}")
    arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    out = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        program.main()
    result: Result = json.loads(out.getvalue().strip().splitlines()[-1])
    result.pop("invocation", None)
    return result


@pytest.fixture
def run_module() -> RunModule:
    return _run


@pytest.fixture
def hub() -> t.Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def free_port() -> int:
    return another_port()


@pytest.fixture(scope="session")
def reciters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that run: alpha, beta; and ones that do not: gamma (unknown architecture), cut, notes (no GGUF)."""
    folder = tmp_path_factory.mktemp("reciters")
    for name in ("alpha", "beta"):
        (folder / f"{name}.gguf").write_bytes(gguf(sentence_of(name), name))
    (folder / "gamma.gguf").write_bytes(gguf(sentence_of("gamma"), "gamma", architecture="lxxxx"))
    (folder / "cut.gguf").write_bytes(gguf(sentence_of("cut"), "cut")[:1_000_000])
    (folder / "notes.gguf").write_bytes(b"These are notes, not a model.\n" * 100)
    return folder


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real llama.cpp server: our launcher with the interpreter of these tests."""
    folder = tmp_path_factory.mktemp("engine") / "llama_cpp" / "1"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "llama-server"
    launcher = (TOP / "roles/llama_cpp/files/llama_server.py").read_text()
    program.write_text(f"#!/bin/sh\n'''exec' \"{sys.executable}\" -I \"$0\" \"$@\"\n' '''\n{launcher}")
    program.chmod(0o755)
    return folder


@pytest.fixture
def prefix(tmp_path: Path, engine: Path) -> Path:
    """A host's tree with the engine installed."""
    root = tmp_path / "host"
    target = root / "opt/llm/engines/llama_cpp/1"
    target.parent.mkdir(parents=True)
    shutil.copytree(engine, target)
    return root


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine's user reaches a test, and modules find their basic state fresh."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "LLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", None)
