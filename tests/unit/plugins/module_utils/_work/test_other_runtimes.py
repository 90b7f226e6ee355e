# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the other runtimes make room for one that wants the host for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.generation import ACTIVE, Generation, ModelIdentity
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.runtime import complete
from ansible_collections.llmops.fleet.plugins.module_utils._host.generations import Generations
from ansible_collections.llmops.fleet.plugins.module_utils._work import other_runtimes as module
from ansible_collections.llmops.fleet.plugins.module_utils._work.other_runtimes import OtherRuntimes


def generation(name: str, host: str, supervisor: str = "external") -> Generation:
    asked = {"engine": "ollama", "engine_version": "1", "model": "qwen", "supervisor": supervisor, "host": host}
    spec = complete(name, asked, None, 11434, resident=True)
    identity = ModelIdentity("qwen", "ollama", "qwen", "sha256:1", "", "", "qwen:latest", 1)
    return Generation(1, name, "", ACTIVE, "ollama", "1", identity, (name,), spec.as_dict(), spec.environment, "")


@pytest.mark.parametrize(
    ("host", "shared"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", True), ("127.0.0.2", False)]
)
def test_the_same_bytes_are_shared_in_one_program_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, shared: bool
) -> None:
    layout = layout_for(root=True, user="x", home="/", run_home=None, prefix=str(tmp_path))
    Generations(layout, "twin").write(generation("twin", host))
    monkeypatch.setattr(module, "is_loaded", lambda _side: True)
    running = OtherRuntimes(layout, "chat").running(generation("chat", "127.0.0.1"))
    assert running == (() if shared else ("twin",))
