# SPDX-License-Identifier: GPL-3.0-or-later
"""All engines by name. A new one is its file and a line here."""

from __future__ import annotations

from .._core.engine import Engine
from .._core.errors import LlmError
from .docker_model_runner import DockerModelRunner
from .llama_cpp import LlamaCpp
from .llama_cpp_python import LlamaCppPython
from .lm_studio import LmStudio
from .ollama import Ollama
from .vllm import Vllm

ENGINES: dict[str, Engine] = {
    DockerModelRunner.name: DockerModelRunner(),
    LlamaCpp.name: LlamaCpp(),
    LlamaCppPython.name: LlamaCppPython(),
    LmStudio.name: LmStudio(),
    Ollama.name: Ollama(),
    Vllm.name: Vllm(),
}


def engine_named(name: str) -> Engine:
    try:
        return ENGINES[name]
    except KeyError:
        raise LlmError(
            "unknown_engine", f"The engine '{name}' is unknown.", remedy=f"Use one of: {', '.join(sorted(ENGINES))}."
        ) from None
