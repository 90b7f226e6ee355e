# SPDX-License-Identifier: GPL-3.0-or-later
"""How each engine is offered a model it can serve. A new engine joins the contract with a line in `OFFERS`.

What it takes to have one on a host, with models, is in `runtimes.py`.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "contracts"


@dataclass(frozen=True)
class Offer:
    """Lines of a failing engine's log with the reason that they mean.

    `program`: it has one that a supervisor can keep. `names`: it serves a model under more than one.
    """

    logs: dict[str, str]
    program: bool = True
    names: bool = True
    options: dict[str, t.Any] = field(default_factory=dict)


def _recorded(name: str, reasons: dict[str, str]) -> dict[str, str]:
    """The lines of recorded starts that failed, by the names of their cases."""
    document = json.loads((RECORDED / name / "start_failures.json").read_text())
    lines = {case["case"]: "\n".join(case["lines_with_errors"]) for case in document["cases"]}
    return {lines[case]: reason for case, reason in reasons.items()}


_INSIDE = {
    "llama_model_load: error loading model: unknown model architecture: 'odd'": "model_unsuitable",
    "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory": "out_of_memory",
}

OFFERS: dict[str, Offer] = {
    "docker_model_runner": Offer(
        {
            **_INSIDE,
            'level=ERROR msg="Server error" error="listen tcp :12434: bind: address already in use"': "port_in_use",
            'runtime flag "--log-file" is not allowed for backend "llama.cpp"': "invalid_input",
        },
        options={"keep_alive": "30m"},
    ),
    "llama_cpp": Offer(
        _recorded(
            "llama_cpp",
            {
                "file missing": "permission_denied",
                "not GGUF": "model_unsuitable",
                "cut in the middle": "model_unsuitable",
                "port taken": "port_in_use",
                "unknown option": "invalid_input",
                "unknown architecture": "model_unsuitable",
            },
        ),
        options={"threads": 1},
    ),
    "llama_cpp_python": Offer(
        {
            **_INSIDE,
            "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address in use": (
                "port_in_use"
            ),
            "ValueError: Model path does not exist: /m/none.gguf": "path_missing",
            "ValueError: Failed to create llama_context": "out_of_memory",
        },
        names=False,
        options={"n_threads": 1},
    ),
    "lm_studio": Offer(
        {
            **_INSIDE,
            "Error: listen EADDRINUSE: address already in use 127.0.0.1:1234": "port_in_use",
            "Failed to load model": "model_unsuitable",
        },
        program=False,
        names=False,
    ),
    "ollama": Offer(
        {
            **_INSIDE,
            "Error: listen tcp 127.0.0.1:11434: bind: address already in use": "port_in_use",
            "Error: model requires more system memory (9.1 GiB) than is available (3.2 GiB)": "out_of_memory",
            "panic: $HOME is not defined": "start_failed",
        },
        options={"num_parallel": 1},
    ),
    "vllm": Offer(
        _recorded(
            "vllm",
            {
                "port taken": "port_in_use",
                "unknown option": "invalid_input",
                "folder missing": "path_missing",
                "no config.json": "model_unsuitable",
                "unknown architecture": "model_unsuitable",
                "context longer than the model's": "invalid_input",
                "cut in the middle": "model_unsuitable",
                "no memory for the cache": "out_of_memory",
            },
        ),
        options={"seed": 1},
    ),
}
