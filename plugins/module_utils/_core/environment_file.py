# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that systemd reads as EnvironmentFile=, and our own supervisor too (systemd.exec(5))."""

from __future__ import annotations

import re
import typing as t

from .errors import LlmError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"\$(\$)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


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


def parse(text: str) -> dict[str, str]:
    """The variables of a file that `render` wrote; comments and blank lines are passed over."""
    variables: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, quoted = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        if len(quoted) >= 2 and quoted[0] == quoted[-1] == '"':
            quoted = re.sub(r"\\(.)", r"\1", quoted[1:-1])
        variables[name] = quoted
    return variables


def expand(words: t.Sequence[str], variables: t.Mapping[str, str]) -> list[str]:
    """Put values for `${NAME}` and `$` for `$$`, one word staying one word, as systemd does."""
    return [
        _WORD.sub(lambda found: "$" if found.group(1) else variables.get(found.group(2), ""), word) for word in words
    ]
