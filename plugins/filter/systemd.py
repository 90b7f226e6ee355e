# SPDX-License-Identifier: GPL-3.0-or-later
"""Words quoted so that systemd takes them as they are."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible.errors import AnsibleFilterError


def systemd_value(value: t.Any) -> str:
    """One value in quotes, with `%`, `"` and backslash made literal (systemd.syntax(7), systemd.unit(5))."""
    text = str(value)
    if any(letter in text for letter in "\n\r\0"):
        raise AnsibleFilterError(f"systemd cannot take a value with a line break: {text!r}")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def systemd_command(words: t.Any) -> str:
    """A command line for ExecStart=. A word that is exactly `${NAME}` stays a variable; any other `$` is literal."""
    # Role argument specs check a list but do not convert one: a string gets through.
    if isinstance(words, (str, bytes)) or not isinstance(words, Sequence) or not words:
        raise AnsibleFilterError(f"a command must be a list of words, got {words!r}")
    return " \\\n  ".join(_word(str(word)) for word in words)


def _word(word: str) -> str:
    if word.startswith("${") and word.endswith("}") and word[2:-1].isidentifier():
        return word
    return systemd_value(word).replace("$", "$$")


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"systemd_value": systemd_value, "systemd_command": systemd_command}
