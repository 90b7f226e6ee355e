# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, once."""

from __future__ import annotations

import typing as t

PREFIX: dict[str, t.Any] = {"prefix": {"type": "path"}}
STORE: dict[str, t.Any] = {"store": {"type": "path"}}

# One model, as `llm_model` and the list `llm_models` take it.
MODEL: dict[str, t.Any] = {
    "name": {"type": "str"},
    "source": {
        "type": "str",
        "choices": ["docker_model_runner", "file", "huggingface", "lm_studio", "ollama", "url"],
        "default": "huggingface",
    },
    "model": {"type": "str"},
    "revision": {"type": "str"},
    "include": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "quantization": {"type": "str"},
    "path": {"type": "path"},
    "from_controller": {"type": "bool", "default": False},
    "placement": {"type": "str", "choices": ["copy", "link", "reference"], "default": "copy"},
    "url": {"type": "str"},
    "mirrors": {"type": "list", "elements": "str", "default": []},
    "checksum_url": {"type": "str"},
    "sha256": {"type": "str"},
    "allow_large": {"type": "bool", "default": False},
    "pinned": {"type": "bool", "default": False},
    "capabilities": {"type": "dict", "default": {}},
    "refresh": {"type": "bool", "default": False},
    "verify": {"type": "str", "choices": ["never", "new", "always"], "default": "new"},
    "transfer": {"type": "str", "choices": ["http", "xet"], "default": "http"},
    "insecure": {"type": "bool", "default": False},
    "create": {"type": "dict", "default": {}},
    "models_path": {"type": "path"},
    "executable": {"type": "str"},
    "endpoint": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}
# What the action of `llm_model` adds to a model of the controller on the way to the host.
STAGED: dict[str, t.Any] = {
    "controller_files": {"type": "list", "elements": "dict"},
    "controller_staging": {"type": "path"},
}
# One runtime, as `llm_runtime` and the list `llm_runtimes` take it.
RUNTIME: dict[str, t.Any] = {
    "engine": {
        "type": "str",
        "choices": ["docker_model_runner", "llama_cpp", "llama_cpp_python", "lm_studio", "ollama", "vllm"],
    },
    "engine_version": {"type": "str"},
    "model": {"type": "str"},
    "initial_model": {"type": "str"},
    "served_names": {"type": "list", "elements": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "context_length": {"type": "int"},
    "options": {"type": "dict"},
    "extra_args": {"type": "list", "elements": "str"},
    "environment": {"type": "dict"},
    "api_key": {"type": "str", "no_log": True},
    "secrets": {"type": "dict", "no_log": True},
    "allow_unauthenticated": {"type": "bool"},
    "proof": {"type": "str", "choices": ["facts", "tokens", "golden", "none"]},
    "golden": {"type": "list", "elements": "dict"},
    "accelerator": {"type": "str", "choices": ["any", "gpu", "cpu"]},
    "min_tokens_per_second": {"type": "float", "no_log": False},
    "fit": {"type": "str", "choices": ["enforce", "warn", "off"]},
    "drain_timeout": {"type": "float"},
    "on_drain_timeout": {"type": "str", "choices": ["proceed", "fail"]},
    "exclusive": {"type": "bool"},
    "keep_generations": {"type": "int"},
    "thresholds": {"type": "dict"},
    "supervisor": {"type": "str", "choices": ["auto", "systemd", "process", "external"]},
    "unit": {"type": "str"},
}
