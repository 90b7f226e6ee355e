# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher of llama.cpp's server: what it refuses, what it serves, and that it can always be stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from reciter import gguf, sentence_of

LAUNCHER = Path(__file__).resolve().parents[3] / "roles/llama_cpp/files/llama_server.py"
Start = t.Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> t.Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(LAUNCHER), *words]
        running.append(subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_until(ready: t.Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answers(port: int) -> bool:
    """Whether the server is there, even if it is not ready."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False
    return True


@pytest.mark.parametrize("words", [["--nope"], ["--port", "many"], []])
def test_what_it_does_not_know_is_refused(start: Start, words: list[str]) -> None:
    process = start(*words)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert said.startswith("error: ")


def test_a_stop_ends_it_without_an_error(start: Start, free_port: int, tmp_path: Path) -> None:
    model = tmp_path / "alpha.gguf"
    model.write_bytes(gguf(sentence_of("alpha"), "alpha"))
    process = start("-m", str(model), "--port", str(free_port), "-t", "1", "-c", "256")
    wait_until(lambda: serves(free_port))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == 0


def test_a_stop_does_not_wait_for_a_model_that_loads(start: Start, free_port: int, tmp_path: Path) -> None:
    # A pipe that nobody writes to is a model whose loading never ends.
    model = tmp_path / "endless.gguf"
    os.mkfifo(model)
    process = start("-m", str(model), "--port", str(free_port), "-t", "1")
    wait_until(lambda: answers(free_port))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGTERM


def test_what_the_library_has_still_to_say_is_said(tmp_path: Path) -> None:
    """Its log is written by a thread that is ended in order when the process is, and never when it is cut off."""
    (tmp_path / "xllamacpp.py").write_text(
        "import atexit, types\n"
        "atexit.register(print, 'unknown model architecture')\n"
        "CommonParams = lambda: types.SimpleNamespace(**{name: types.SimpleNamespace()\n"
        "    for name in ('model', 'cpuparams', 'cpuparams_batch')})\n"
        "class llama_flash_attn_type:\n"
        "    LLAMA_FLASH_ATTN_TYPE_ENABLED = LLAMA_FLASH_ATTN_TYPE_DISABLED = LLAMA_FLASH_ATTN_TYPE_AUTO = 0\n"
        "class llama_load_mode:\n"
        "    LLAMA_LOAD_MODE_AUTO = 0\n"
        "def Server(parameters):\n"
        "    raise RuntimeError('Failed to init server')\n"
    )
    done = subprocess.run(
        [sys.executable, str(LAUNCHER), "--model", "x.gguf"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: Failed to init server\n"
    assert done.stdout == "unknown model architecture\n"
