# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_catalog_info` in this process: its action as it is, and its module where Ansible would send it."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible import constants
from ansible_collections.llmops.fleet.plugins.action.llm_catalog_info import ActionModule

Result = dict[str, t.Any]


def catalogue_action(run_module: t.Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """A function that runs one task; `folder` is Ansible's own one of the run. Its `sent` are the module's arguments."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(folder))
    sent: list[Result] = []

    def call(*, check: bool = False, asynchronous: int = 0, task: str = "", **params: t.Any) -> Result:
        given = SimpleNamespace(
            args=params, async_val=asynchronous, check_mode=check, action="llm_catalog_info",
            # A task of its own each time: what its hosts share is another test's affair.
            _uuid=task or f"task-{len(sent)}",
        )  # fmt: skip
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
        action = ActionModule(given, connection, None, None, None)
        monkeypatch.setattr(action, "_early_needs_tmp_path", lambda: False)

        def execute(*, module_name: str, module_args: Result, task_vars: t.Any) -> Result:
            sent.append(module_args)
            return run_module(module_name.rpartition(".")[2], check=check, **module_args)

        monkeypatch.setattr(action, "_execute_module", execute)
        return action.run(None, {})

    call.sent = sent  # type: ignore[attr-defined]
    return call
