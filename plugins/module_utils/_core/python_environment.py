# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Python environment is to hold, and how its installer is called."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .errors import LlmError

_PINNED = re.compile(r"[A-Za-z0-9][\w.\-]*(\[[\w,.\-]+\])?==[\w.+!\-]+(\s*;.*)?")


@dataclass(frozen=True)
class PythonEnvironment:
    """A folder, the interpreter it is made with, and pinned requirements."""

    path: str
    python: str
    requirements: tuple[str, ...]
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

    def marker(self, interpreter: str) -> dict[str, t.Any]:
        """What is written beside a finished environment and compared next time."""
        return {"python": interpreter, "requirements": sorted(self.requirements)}

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
