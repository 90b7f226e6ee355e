# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model of the store can take, read from its files."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from .._core.capabilities import from_config, from_gguf
from .._core.gguf import read_metadata
from .._core.model import FileEntry, InstalledModel
from .._host.chat_template import render

_TEMPLATE = "chat_template.jinja"


def read_capabilities(record: InstalledModel, locate: t.Callable[[FileEntry], Path]) -> dict[str, t.Any]:
    """Capabilities by name; empty where the files say nothing, or not in a form that is understood.

    `locate` tells where a file's bytes lie: the model need not be in its folder yet.
    """
    paths = {entry.path: locate(entry) for entry in record.files}
    weights = sorted(path for path in paths if path.lower().endswith(".gguf") and "mmproj" not in path.lower())
    if weights:
        with paths[weights[0]].open("rb") as file:
            try:
                return from_gguf(read_metadata(file), render)
            except ValueError:
                return {}
    if "config.json" not in paths:
        return {}
    template = paths[_TEMPLATE].read_text(encoding="utf-8", errors="replace") if _TEMPLATE in paths else None
    return from_config(_json(paths.get("config.json")), _json(paths.get("tokenizer_config.json")), template, render)


def _json(path: Path | None) -> dict[str, t.Any]:
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
