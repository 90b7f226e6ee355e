# SPDX-License-Identifier: GPL-3.0-or-later
"""All sources by name. A new one is its file and a line here."""

from __future__ import annotations

import typing as t

from .._core.errors import LlmError
from .._core.ports import Source, SourceOptions
from .file import File
from .huggingface import HuggingFace

SOURCES: dict[str, t.Callable[[SourceOptions], Source]] = {
    File.name: File,
    HuggingFace.name: HuggingFace,
}


def source_named(name: str, options: SourceOptions) -> Source:
    try:
        return SOURCES[name](options)
    except KeyError:
        raise LlmError(
            "unknown_source", f"The source '{name}' is unknown.", remedy=f"Use one of: {', '.join(sorted(SOURCES))}."
        ) from None
