# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Python environment is to hold, and how its installer is called."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass, field

from .errors import LlmError

_PINNED = re.compile(r"[A-Za-z0-9][\w.\-]*(\[[\w,.\-]+\])?==[\w.+!\-]+(\s*;.*)?")
_PROGRAM = re.compile(r"[A-Za-z0-9_\-]+")


@dataclass(frozen=True)
class PythonEnvironment:
    """A folder, the interpreter it is made with, pinned requirements, and programs by name and text."""

    path: str
    python: str
    requirements: tuple[str, ...]
    programs: t.Mapping[str, str] = field(default_factory=dict)
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    wheel_folder: str = ""
    proxy: str = field(default="", repr=False)

    def check(self) -> None:
        for requirement in self.requirements:
            if not _PINNED.fullmatch(requirement.strip()):
                raise LlmError(
                    "invalid_input",
                    f"The requirement '{requirement}' of {self.path} is not pinned.",
                    remedy="Write it as name==version, so that two hosts get the same.",
                )
        for name in self.programs:
            if not _PROGRAM.fullmatch(name):
                raise LlmError(
                    "invalid_input",
                    f"The program name '{name}' of {self.path} is refused.",
                    remedy="Use letters, digits, - and _.",
                )

    def program_text(self, name: str) -> str:
        """A program as it is written to `bin/`: a shell line finds the interpreter first.

        It does so also where the path has spaces or is too long for the kernel's own `#!` line.
        """
        return f"#!/bin/sh\n'''exec' \"{self.path}/bin/python\" -I \"$0\" \"$@\"\n' '''\n{self.programs[name]}"

    def marker(self, interpreter: str) -> dict[str, t.Any]:
        """What is written beside a finished environment and compared next time."""
        hashes = {name: hashlib.sha256(self.program_text(name).encode()).hexdigest() for name in self.programs}
        return {"python": interpreter, "requirements": sorted(self.requirements), "programs": hashes}

    def install_command(self) -> list[str]:
        """The installer's words. Index and proxy go through the environment: a URL can hold a password."""
        words = [
            f"{self.path}/bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        if self.wheel_folder:
            words += ["--no-index", "--find-links", self.wheel_folder]
        return [*words, *self.requirements]

    def install_environment(self) -> dict[str, str]:
        named = {
            "PIP_INDEX_URL": self.index_url,
            "PIP_EXTRA_INDEX_URL": " ".join(self.extra_index_urls),
            "PIP_PROXY": self.proxy,
        }
        return {name: value for name, value in named.items() if value}
