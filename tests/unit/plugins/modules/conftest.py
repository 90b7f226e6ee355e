# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a real engine and models, for the tests of runtimes."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import psutil
import pytest

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(name="command_lines")
def _command_lines() -> t.Callable[[], list[str]]:
    return command_lines


@pytest.fixture
def runtime(run_module: Run, prefix: Path, reciters: Path, free_port: int) -> t.Iterator[Run]:
    """The module on a host with the models alpha, beta, gamma (unknown architecture), cut and notes (no GGUF)."""
    models = [{"name": path.stem, "source": "file", "path": str(path)} for path in sorted(reciters.iterdir())]
    assert run_module("llm_model", prefix=str(prefix), models=models)["changed"]

    def call(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_runtime", **{"name": "chat", "prefix": str(prefix), "start_timeout": 20, **params})

    yield call
    for name in ("chat", "other"):
        call(name=name, state="absent")
    assert not [line for line in command_lines() if str(prefix) in line]


def command_lines() -> list[str]:
    """What every process of this machine was started as."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def first(free_port: int) -> dict[str, t.Any]:
    return {
        "engine": "llama_cpp",
        "engine_version": "1",
        "model": "alpha",
        "port": free_port,
        "context_length": 256,
        "options": {"threads": 1},
        "supervisor": "process",
    }
