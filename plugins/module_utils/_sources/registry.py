# SPDX-License-Identifier: GPL-3.0-or-later
"""All sources by name. A new one is its file and a line here."""

from __future__ import annotations

import typing as t

from .._core.errors import LlmError
from .._core.ports import Source, SourceOptions
from .._core.request import ModelRequest
from .docker_model_runner import DockerModelRunner
from .file import File
from .huggingface import HuggingFace
from .lm_studio import LmStudio
from .ollama import Ollama
from .url import Url

SOURCES: dict[str, type[t.Any]] = {
    DockerModelRunner.name: DockerModelRunner,
    File.name: File,
    HuggingFace.name: HuggingFace,
    LmStudio.name: LmStudio,
    Ollama.name: Ollama,
    Url.name: Url,
}
DEFAULT = HuggingFace.name


def source_named(name: str, options: SourceOptions) -> Source:
    made: Source = _class(name)(options)
    return made


def request_from(params: t.Mapping[str, t.Any]) -> ModelRequest:
    """One model as a user describes it; raises `unknown_source`, `invalid_name` or `invalid_input`."""
    source = _class(params.get("source") or DEFAULT)
    return ModelRequest.from_params(params, source.reference(params), source.own_options)


def _class(name: str) -> type[t.Any]:
    try:
        return SOURCES[name]
    except KeyError:
        raise LlmError(
            "unknown_source", f"The source '{name}' is unknown.", remedy=f"Use one of: {', '.join(sorted(SOURCES))}."
        ) from None
