# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing the files that systemd reads as EnvironmentFile= (systemd.exec(5)); our own keeper reads them too."""

from __future__ import annotations

import re
import typing as t

from .errors import LlmError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def render(variables: t.Mapping[str, str], heading: str) -> str:
    """The file's text: one sorted `NAME="value"` a line below a comment."""
    lines = [f"# {heading}"]
    for name in sorted(variables):
        value = variables[name]
        if not _NAME.fullmatch(name):
            raise LlmError("invalid_input", f"The environment variable name '{name}' is refused.")
        if "\n" in value or "\r" in value or "\0" in value:
            raise LlmError("invalid_input", f"The value of environment variable {name} has a line break.")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
        lines.append(f'{name}="{quoted}"')
    return "\n".join(lines) + "\n"
