# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles' templates need to know of an engine, from the engine's own file."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleFilterError

from ..module_utils._core.errors import LlmError
from ..module_utils._engines.registry import engine_named

_ROLES = Path(__file__).resolve().parents[2] / "roles"


def engine_command(runtime: t.Mapping[str, t.Any], executable: str) -> list[str]:
    """The words of a runtime's command line; values that change with the model are `${NAME}` words."""
    try:
        engine = engine_named(str(runtime.get("engine")))
    except LlmError as failure:
        raise AnsibleFilterError(str(failure)) from failure
    return list(engine.command(executable, runtime.get("options") or {}, runtime.get("extra_args") or []))


def engine_facts(name: str) -> dict[str, t.Any]:
    """The engine's role, program, usual port, and what its unit must be allowed; no role: it is installed otherwise."""
    try:
        engine = engine_named(name)
    except LlmError as failure:
        raise AnsibleFilterError(str(failure)) from failure
    return {
        "role": engine.name if (_ROLES / engine.name).is_dir() else "",
        "executable": engine.executable,
        "default_port": engine.default_port,
        "write_execute_memory": engine.write_execute_memory,
        "places_threads": engine.places_threads,
        "reads_interfaces": engine.reads_interfaces,
        "options": dict(engine.option_types),
    }


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"engine_command": engine_command, "engine_facts": engine_facts}
