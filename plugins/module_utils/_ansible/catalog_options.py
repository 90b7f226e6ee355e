# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `llm_catalog_info`: its action reads them on the controller, its module on the host."""

from __future__ import annotations

import typing as t

from .argspec import PREFIX, STORE

# What the host is told; the rest is the controller's affair, the token above all.
HOST: dict[str, t.Any] = {
    **PREFIX,
    **STORE,
    "endpoints": {"type": "dict", "default": {}},
    "memory_gb": {"type": "float"},
    "timeout": {"type": "float", "default": 15},
}
CATALOG: dict[str, t.Any] = {
    **HOST,
    "source": {
        "type": "list",
        "elements": "str",
        "choices": ["huggingface", "ollama", "docker_model_runner", "builtin"],
    },
    "search": {"type": "str"},
    "filter": {"type": "list", "elements": "str", "default": []},
    "sort": {"type": "str", "choices": ["downloads", "likes", "trending", "size", "name"], "default": "downloads"},
    "limit": {"type": "int", "default": 20},
    "token": {"type": "str", "no_log": True},
    "cache_path": {"type": "path"},
    "cache_minutes": {"type": "float", "default": 30},
    "huggingface_url": {"type": "str"},
    "ollama_url": {"type": "str", "default": "https://ollama.com"},
    "docker_hub_url": {"type": "str", "default": "https://hub.docker.com"},
}
