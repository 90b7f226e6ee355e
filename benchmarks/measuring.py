# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are measured: a module as a host runs it, a hub of its own, figures and their table."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import typing as t
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "tools"))

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None


def seconds(words: t.Sequence[str], environment: t.Mapping[str, str] | None = None) -> tuple[float, str]:
    """Wall seconds of a command, and what it printed; raises if it fails."""
    started = time.monotonic()
    done = subprocess.run(words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(words[:3])} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return time.monotonic() - started, done.stdout


def module(plugin: str, /, **params: t.Any) -> tuple[float, dict[str, t.Any]]:
    """A module as a process of its own, as a host runs it: wall seconds and its result."""
    wall, result, _peak = module_with_memory(plugin, **params)
    return wall, result


def module_with_memory(plugin: str, /, **params: t.Any) -> tuple[float, dict[str, t.Any], int]:
    """As `module`, with the largest memory the process had, in bytes."""
    wall, result, peak = _measured(plugin, params)
    if result.get("failed"):
        raise SystemExit(f"error: {plugin} failed: {json.dumps(result)[:2000]}")
    return wall, result, peak


def tried(plugin: str, /, **params: t.Any) -> tuple[float, dict[str, t.Any]]:
    """As `module`, for one that may fail."""
    wall, result, _peak = _measured(plugin, params)
    return wall, result


def _measured(plugin: str, params: t.Mapping[str, t.Any]) -> tuple[float, dict[str, t.Any], int]:
    program = f"ansible_collections.llmops.fleet.plugins.modules.{plugin}"
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": dict(params)})
    script = (
        "import json, runpy, sys\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "with patch_module_args(json.loads(sys.argv[2])['ANSIBLE_MODULE_ARGS']):\n"
        "    runpy.run_module(sys.argv[1], run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOP / ".cache" / "collections")}
    started = time.monotonic()
    words = [sys.executable, "-c", script, program, arguments]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out = process.stdout.read() if process.stdout else ""
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        error = process.stderr.read() if process.stderr else ""
    if not out.strip():
        raise SystemExit(f"error: {plugin} failed: {error[-1000:]}")
    return wall, json.loads(out.strip().splitlines()[-1]), usage.ru_maxrss * 1024


@contextlib.contextmanager
def hub(root: Path) -> t.Iterator[str]:
    """The test hub as a process of its own, so that its work is not ours."""
    port = free_port()
    words = [sys.executable, str(TOP / "tests/tools/hub.py"), "--root", str(root), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout or ():
            if line.startswith("listening"):
                break
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def log_of(url: str) -> dict[str, t.Any]:
    with urllib.request.urlopen(f"{url}/_control/log") as answer:
        told: dict[str, t.Any] = json.load(answer)
    urllib.request.urlopen(urllib.request.Request(f"{url}/_control/reset", b"{}")).close()
    return told


def hf(url: str, home: Path, *words: str) -> float:
    environment = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return seconds([str(BIN / "hf"), *words], environment)[0]


def figure(name: str, ours: list[float], theirs: list[float], peer: str) -> Figure:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs))
    return Figure(name, round(statistics.median(ours), 3), "s", peer, round(ratio, 2))


def table(figures: t.Sequence[Figure]) -> str:
    rows = [("figure", "value", "peer", "ratio")]
    for item in figures:
        rows.append(
            (
                item.name,
                f"{item.value:g} {item.unit}",
                item.peer or "-",
                "-" if item.ratio is None else f"{item.ratio:.2f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
