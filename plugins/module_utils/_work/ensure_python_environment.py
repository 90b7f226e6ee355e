# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a Python environment whose last step is the mark that it is finished; a half-made one is made again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .._core.outcome import Outcome
from .._core.python_environment import PythonEnvironment
from .._host.durable import read_text, write_text
from .._host.ownership import Owner, make_folder

_MARKER = ".environment.json"
_ASK_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


class PythonEnvironmentTask:
    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._absent = params["state"] == "absent"
        self._wanted = PythonEnvironment(
            path=params["path"],
            python=params.get("python") or _base_interpreter(),
            requirements=tuple(params.get("requirements") or ()),
            programs=dict(params.get("programs") or {}),
            index_url=params.get("index_url") or "",
            extra_index_urls=tuple(params.get("extra_index_urls") or ()),
            wheel_folder=params.get("wheel_folder") or "",
            proxy=params.get("proxy") or "",
        )
        self._folder = Path(self._wanted.path)

    def run(self, *, check_mode: bool) -> Outcome:
        before = self._present()
        if self._absent:
            there = self._folder.exists()
            if there and not check_mode:
                shutil.rmtree(self._folder)
            return Outcome(there, before, None, {"path": str(self._folder)})
        self._wanted.check()
        after = self._wanted.marker(self._interpreter_version())
        changed = before != after
        if changed and not check_mode:
            self._make(before, after)
        result = {"path": str(self._folder), "python": f"{self._folder}/bin/python"}
        return Outcome(changed, before, after, result)

    def _present(self) -> dict[str, t.Any] | None:
        """The mark of a finished environment that can still run, else None."""
        text = read_text(self._folder / _MARKER)
        if text is None or not os.access(self._folder / "bin" / "python", os.X_OK):
            return None
        try:
            marker = json.loads(text)
            there = {name: self._hash(name) for name in marker.get("programs") or {}}
            return {"python": marker["python"], "requirements": marker["requirements"], "programs": there}
        except (ValueError, KeyError, AttributeError):
            return None

    def _hash(self, program: str) -> str:
        text = read_text(self._folder / "bin" / program) or ""
        return hashlib.sha256(text.encode()).hexdigest()

    def _interpreter_version(self) -> str:
        try:
            told = subprocess.run(
                [self._wanted.python, "-c", _ASK_VERSION], check=True, capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError) as failure:
            raise LlmError(
                "path_missing",
                f"The Python interpreter {self._wanted.python} cannot be run: {failure}.",
                remedy="Name one that is installed on the host.",
            ) from None
        return told.stdout.strip()

    def _make(self, before: dict[str, t.Any] | None, after: dict[str, t.Any]) -> None:
        (self._folder / _MARKER).unlink(missing_ok=True)
        make_folder(self._folder.parent, Owner(), 0o755)
        if before is None or before["python"] != after["python"]:
            self._call([self._wanted.python, "-m", "venv", "--clear", str(self._folder)], "venv_missing")
            # Engines run as another account and read this.
            self._folder.chmod(0o755)
            before = {}
        if self._wanted.requirements and before.get("requirements") != after["requirements"]:
            self._call(self._wanted.install_command(), "environment_failed")
        for name in self._wanted.programs:
            write_text(self._folder / "bin" / name, self._wanted.program_text(name), mode=0o755)
        write_text(self._folder / _MARKER, json.dumps(after, indent=2) + "\n", mode=0o644)

    def _call(self, words: list[str], reason: str) -> None:
        environment = {**os.environ, **self._wanted.install_environment()}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            said = _masked(f"{done.stdout}\n{done.stderr}".strip())
            last = said.splitlines()[-1] if said else "it said nothing"
            raise LlmError(
                reason,
                f"The Python environment {self._folder} could not be made: {last}",
                remedy=_remedy(reason, said),
                said=said[-4000:],
            )


def _base_interpreter() -> str:
    """The interpreter behind this one: an environment must not be made from another environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _masked(text: str) -> str:
    """Installer output without the passwords that index URLs may hold."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", text)


def _remedy(reason: str, said: str) -> str | None:
    if reason == "venv_missing" and "ensurepip" in said:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"Install the venv package (Debian, Ubuntu: python{version}-venv) and run again."
    if "No space left" in said:
        return "Free space and run again."
    return None
