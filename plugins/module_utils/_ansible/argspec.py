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
