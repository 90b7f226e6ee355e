# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of models, backends and disk use from what Docker Model Runner answers. Unknown is None, never a guess."""

from __future__ import annotations

import typing as t

from .._api.daemon import entries, size_of
from .._api.docker_model_runner import normal_reference
from .docker_model_runner_seen import mapping, number, text

Say = t.Callable[[str, str, str], None]
# The beginnings of a backend's status, and what they mean in one word.
_BACKENDS = {
    "running": "running",
    "not running": "stopped",
    "not installed": "not_installed",
    "installing": "installing",
    "installed": "installed",
    "error": "error",
}


def backends_of(status: t.Any) -> list[dict[str, t.Any]] | None:
    """`{"vllm": "Not Installed: binary not found"}` becomes a record a backend, by name; None is not known."""
    if status is None:
        return None
    return [_backend(text(name) or "", said) for name, said in sorted(status.items())]


def _backend(name: str, said: t.Any) -> dict[str, t.Any]:
    whole = text(str(said)) if isinstance(said, (str, int, float)) else None
    head, _colon, detail = (whole or "").partition(":")
    state = _BACKENDS.get(head.strip().lower(), "unknown")
    return {"name": name, "state": state, "detail": (detail.strip() if state != "unknown" else whole) or None}


def usage_of(disk: t.Any) -> dict[str, int | None] | None:
    """Bytes on the disk, of models and of the default backend."""
    if disk is None:
        return None
    return {
        "models_bytes": number(disk.get("models_disk_usage")),
        "backend_bytes": number(disk.get("default_backend_disk_usage")),
    }


def models_of(listed: t.Any, running: t.Any, say: Say) -> list[dict[str, t.Any]] | None:
    """A record a model, in order of its first name; None where they are not known.

    `running` is None where what is loaded could not be asked.
    """
    if listed is None:
        return None
    found = [_model(entry) for entry in entries(listed)]
    if len(found) != len(listed):
        say("models", "hub_error", f"{len(listed) - len(found)} of {len(listed)} models have no record to read.")
    loaded = None if running is None else [(text(entry.get("model_name")) or "", entry) for entry in entries(running)]
    repositories = [{_repository(tag) for tag in record["tags"]} for record in found]
    for record, mine in zip(found, repositories):
        state: str | None = None
        if loaded is not None:
            hit = next((entry for name, entry in loaded if _is_of(name, record)), None)
            state = "unloaded" if hit is None else "loading" if hit.get("loading") else "loaded"
            # A loaded model is told without its tag: of two with one repository it may be either.
            if hit is not None and sum(bool(mine & other) for other in repositories) > 1:
                state = None
                say("models.loaded", "unsupported", "The runner tells loaded models without tags; two share a name.")
        record["state"] = state
        record["loaded"] = None if state is None else state == "loaded"
    return sorted(found, key=lambda record: (record["tags"][:1], str(record["id"])))


def _is_of(name: str, record: t.Mapping[str, t.Any]) -> bool:
    return bool(name) and (name == record["id"] or _repository(name) in [_repository(tag) for tag in record["tags"]])


def _repository(name: str) -> str:
    return normal_reference(name).rpartition(":")[0]


def _model(entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    config = mapping(entry.get("config"))
    tags, gguf = entry.get("tags"), mapping(config.get("gguf"))
    architecture = text(config.get("architecture"))
    return {
        "id": text(entry.get("id")),
        "tags": [tag for tag in map(text, tags) if tag] if isinstance(tags, list) else [],
        "size": text(config.get("size")),
        "size_bytes": size_of(text(config.get("size")) or "") or None,
        "quantization": text(config.get("quantization")),
        "parameters": text(config.get("parameters")),
        "architecture": architecture,
        "format": text(config.get("format")),
        "context_length": number(config.get("context_size")) or number(gguf.get(f"{architecture}.context_length")),
        "created": number(entry.get("created")),
    }
