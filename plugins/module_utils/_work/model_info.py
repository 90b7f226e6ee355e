# SPDX-License-Identifier: GPL-3.0-or-later
"""What models a host has, what was done to them, and how full and busy the host is. Only looks."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from .._api.background import Background
from .._core.errors import LlmError
from .._core.gpu import Gpu, summed
from .._core.manifest import Manifest
from .._core.model import CAPABILITIES, GB, InstalledModel
from .._core.outcome import Outcome
from .._core.ports import HeldModel, SourceOptions
from .._core.request import ModelRequest
from .._core.seconds import seconds_of
from .._host.chat_template import render
from .._host.gpu import gpus
from .._host.operations import Operations
from .._host.ownership import Owner
from .._host.place import layout_here
from .._host.processes import load
from .._host.store import Store
from .._sources.catalogues import identity
from .._sources.registry import DEFAULT, SOURCES, request_from, source_named

# The part of the time that one question may take: what it says of its own failure is then still heard.
_SHARE = 0.9


class ModelInfoTask:
    """Programs, hub and GPU tools are asked side by side, and for `timeout` seconds at most, all of them together."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._timeout = seconds_of(params["timeout"])
        self._limit = float(params["max_disk_gb"])
        self._shown = int(params["operations"])
        _check(self._limit, self._shown, params.get("endpoints") or {})
        self._asked = _request(params)
        prefix, store = params.get("prefix") or "", params.get("store") or ""
        for option, path in {"prefix": prefix, "store": store}.items():
            _check_folder(option, path)
        self._layout = layout_here(prefix)
        self._store = Store(store or self._layout.store, Owner())
        self._operations = Operations(self._layout, Owner())

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        until = time.monotonic() + self._timeout
        programs = {name: self._asking(name) for name in self._programs()}
        cards = Background(lambda: gpus(until))
        reading = self._store.reading()
        manifest = reading.manifest
        described = self._describing(manifest)
        names = self._params["names"]
        busy = load()
        result: dict[str, t.Any] = {
            "models": [
                record.as_dict() for name, record in sorted(manifest.models.items()) if names is None or name in names
            ],
            "missing": [name for name in names or () if name not in manifest.models],
            "programs": {name: self._program(name, job, until, manifest) for name, job in programs.items()},
            "usage": self._usage(manifest, busy, _known(cards, until)),
            "operations": self._history(),
            "problems": list(reading.healed),
        }
        if self._asked:
            result["capabilities"] = self._capabilities(described, manifest, until)
        return Outcome(False, result=result)

    def _programs(self) -> list[str]:
        own = sorted(name for name, source in SOURCES.items() if source.keeps_own_bytes)
        wanted = self._params["programs"]
        return own if wanted is None else [name for name in own if name in wanted]

    def _asking(self, name: str) -> Background[list[HeldModel]]:
        endpoint = (self._params.get("endpoints") or {}).get(name) or ""
        options = SourceOptions(endpoint=endpoint, timeout=self._timeout * _SHARE)
        return Background(lambda: source_named(name, options).inventory())

    def _history(self) -> dict[str, t.Any]:
        found = self._operations.all()
        ended = [operation.as_dict() for operation in found if not operation.running]
        return {
            "running": [operation.as_dict() for operation in found if operation.running],
            "last": ended[::-1][: self._shown],
        }

    def _usage(self, manifest: Manifest, busy: t.Mapping[str, float], cards: t.Sequence[Gpu]) -> dict[str, t.Any]:
        limit = self._limit
        used = manifest.size / GB
        total, taken = busy["memory_total"], busy["memory_used"]
        return {
            "disk_usage_gb": round(used, 3),
            "disk_limit_gb": limit or None,
            "disk_usage_percent": round(used / limit * 100, 1) if limit else None,
            "disk_free_gb": round(self._store.free() / GB, 3),
            "cpu_usage_percent": busy["cpu_percent"],
            "memory_total_gb": round(total / GB, 3),
            "memory_used_gb": round(taken / GB, 3),
            "memory_usage_percent": round(taken / total * 100, 1),
            **summed(cards),
            "models_count": len(manifest.models),
        }

    def _program(
        self, name: str, job: Background[list[HeldModel]], until: float, manifest: Manifest
    ) -> dict[str, t.Any]:
        """What a program keeps, or why it is not known."""
        names = {record.model.lower(): record.name for record in manifest.models.values() if record.provider == name}
        try:
            held = job.result(until, None)
            if held is None:
                raise self._late(name)
            models = [_held(model, name, names) for model in held]
        except LlmError as failure:
            return {"reachable": False, "reason": failure.reason, "error": failure.what, "models": []}
        except Exception as failure:
            return {"reachable": False, "reason": "hub_error", "error": _surprise(name, failure), "models": []}
        return {"reachable": True, "reason": None, "error": None, "models": models}

    def _record(self, manifest: Manifest) -> InstalledModel | None:
        """The host's record of the model that was asked for: by its name, and by what it is at its source.

        Without a source the name on the host counts, whatever its source; with one the record is of that source.
        """
        request, name, source = self._asked, str(self._params["model"]), self._params.get("source")
        records = [record for record in manifest.models.values() if not source or record.provider == source]
        named = next((record for record in records if record.name == name), None)
        if named or request is None:
            return named
        wanted = identity(request.reference.source, request.reference.model)
        return next((record for record in records if identity(record.provider, record.model) == wanted), None)

    def _describing(self, manifest: Manifest) -> Background[t.Mapping[str, t.Any]] | None:
        """Ask the source, where the host has no record of the model."""
        request = self._asked
        if request is None or self._record(manifest):
            return None
        options = SourceOptions(
            endpoint=self._params.get("endpoint") or "",
            token=self._params.get("token") or "",
            timeout=self._timeout * _SHARE,
        )
        return Background(lambda: source_named(request.reference.source, options).describe(request, render))

    def _capabilities(
        self, described: Background[t.Mapping[str, t.Any]] | None, manifest: Manifest, until: float
    ) -> dict[str, t.Any]:
        """All fields, whoever told them; a failure costs the other results nothing."""
        record = self._record(manifest)
        if described is None and record:
            return _described(record.capabilities, "host", record.name)
        source = str(self._params.get("source") or DEFAULT)
        try:
            told = described.result(until, None) if described else None
            if told is None:
                raise self._late(source)
        except LlmError as failure:
            subject = f"Model {self._asked.reference if self._asked else source}"
            return {**_described({}, None, None), "reason": failure.reason, "error": str(failure.about(subject))}
        except Exception as failure:
            return {**_described({}, None, None), "reason": "hub_error", "error": _surprise(source, failure)}
        return _described(told, source, None)

    def _late(self, name: str) -> LlmError:
        return LlmError("timeout", f"{name} did not answer within {self._timeout:g} seconds.")


def _request(params: t.Mapping[str, t.Any]) -> ModelRequest | None:
    """The model that was asked for; raises `invalid_name` for what can be none."""
    if not params.get("model"):
        return None
    return request_from({"name": "asked", "source": params.get("source"), "model": str(params["model"])})


def _check(limit: float, shown: int, endpoints: t.Mapping[t.Any, t.Any]) -> None:
    """Raises `invalid_input` for what no host can be told of."""
    if not 0 <= limit < float("inf"):
        raise LlmError("invalid_input", f"The option max_disk_gb is {limit:g}: give 0 for no limit, or gigabytes.")
    if shown < 0:
        raise LlmError("invalid_input", f"The option operations is {shown}: give how many are told, 0 or more.")
    known = sorted(name for name, source in SOURCES.items() if source.keeps_own_bytes)
    for name, address in endpoints.items():
        if name not in known:
            raise LlmError(
                "invalid_input", f"The option endpoints has '{name}', which is no program that keeps models.",
                remedy=f"Use one of: {', '.join(known)}.",
            )  # fmt: skip
        if not isinstance(address, str):
            raise LlmError("invalid_input", f"The option endpoints has no text as the address of {name}.")


def _check_folder(option: str, path: str) -> None:
    """Raises `invalid_input` for a path that is relative, or a file."""
    place = Path(path)
    if path and not place.is_absolute():
        raise LlmError("invalid_input", f"The option {option} is {path}, a relative path.", remedy="Give it whole.")
    for step in (place, *place.parents) if path else ():
        if step.exists():
            if not step.is_dir():
                raise LlmError("invalid_input", f"The option {option} is {path}, and {step} is no folder.")
            return


def _known(cards: Background[list[Gpu]], until: float) -> list[Gpu]:
    """The cards; none where the tools say what cannot be read."""
    try:
        return cards.result(until, [])
    except Exception:
        return []


def _described(told: t.Mapping[str, t.Any], source: str | None, name: str | None) -> dict[str, t.Any]:
    known = {capability: told.get(capability) for capability in CAPABILITIES}
    return {"from": source, "name": name, **known, "reason": None, "error": None}


def _held(model: HeldModel, provider: str, names: t.Mapping[str, str]) -> dict[str, t.Any]:
    return {
        "name": names.get(model.model.lower()),
        "provider": provider,
        "model": model.model,
        "revision": model.revision,
        "size_bytes": model.size,
        "size_gb": round(model.size / GB, 3),
        "loaded": model.loaded,
        "details": dict(model.details),
    }


def _surprise(name: str, failure: Exception) -> str:
    """What answers may be anything; the class of what went wrong says enough, and has no secret."""
    return f"{name} answered with something that could not be read ({type(failure).__name__})."
