# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of models, backends and disk use from what Docker Model Runner answers. Unknown is None, never a guess."""

from __future__ import annotations

import typing as t

from .._api.daemon import entries, size_of
from .._api.docker_model_runner import normal_reference

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


def backends_of(status: t.Any) -> list[dict[str, t.Any]]:
    """`{"vllm": "Not Installed: binary not found"}` becomes a record a backend, by name; None is none."""
    return [_backend(str(name), said) for name, said in sorted((status or {}).items())]


def _backend(name: str, said: t.Any) -> dict[str, t.Any]:
    head, _colon, detail = str(said).partition(":")
    state = _BACKENDS.get(head.strip().lower(), "unknown")
    return {"name": name, "state": state, "detail": (detail.strip() if state != "unknown" else str(said)) or None}


def usage_of(disk: t.Any) -> dict[str, int | None] | None:
    """Bytes on the disk, of models and of the default backend."""
    if disk is None:
        return None
    return {
        "models_bytes": _number(disk.get("models_disk_usage")),
        "backend_bytes": _number(disk.get("default_backend_disk_usage")),
    }


def models_of(listed: t.Any, running: t.Any, say: Say) -> list[dict[str, t.Any]]:
    """A record a model, in order of its first name. `running` is None where what is loaded could not be asked."""
    found = [_model(entry) for entry in entries(listed)]
    if listed is not None and len(found) != len(listed):
        say("models", "hub_error", f"{len(listed) - len(found)} of {len(listed)} models have no record to read.")
    loaded = None if running is None else [(str(entry.get("model_name") or ""), entry) for entry in entries(running)]
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
    config = entry.get("config")
    config = config if isinstance(config, dict) else {}
    tags = entry.get("tags")
    gguf = config.get("gguf")
    gguf = gguf if isinstance(gguf, dict) else {}
    return {
        "id": _text(entry.get("id")),
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
        "size": _text(config.get("size")),
        "size_bytes": size_of(_text(config.get("size")) or "") or None,
        "quantization": _text(config.get("quantization")),
        "parameters": _text(config.get("parameters")),
        "architecture": _text(config.get("architecture")),
        "format": _text(config.get("format")),
        "context_length": _number(config.get("context_size"))
        or _number(gguf.get(f"{config.get('architecture')}.context_length")),
        "created": _number(entry.get("created")),
    }


def _text(found: t.Any) -> str | None:
    return found if isinstance(found, str) and found else None


def _number(found: t.Any) -> int | None:
    if isinstance(found, str) and found.isdigit():
        return int(found)
    return int(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None
