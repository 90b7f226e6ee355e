# SPDX-License-Identifier: GPL-3.0-or-later
"""What models a host has, what was done to them, and how full and busy the host is. Only looks."""

from __future__ import annotations

import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

from .._core.errors import LlmError
from .._core.gpu import summed
from .._core.manifest import Manifest
from .._core.model import GB
from .._core.operation import SHOWN
from .._core.outcome import Outcome
from .._core.ports import HeldModel, SourceOptions
from .._host.chat_template import render
from .._host.gpu import gpus
from .._host.operations import Operations
from .._host.ownership import Owner
from .._host.place import layout_here
from .._host.processes import load
from .._host.store import Store
from .._sources.registry import SOURCES, request_from, source_named


class ModelInfoTask:
    """Programs that keep models are asked side by side, each for `timeout` seconds at most."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._layout = layout_here(params.get("prefix") or "")
        self._store = Store(params.get("store") or self._layout.store, Owner())
        self._operations = Operations(self._layout, Owner())
        self._params = params

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        timeout = float(self._params["timeout"])
        endpoints = self._params["endpoints"] or {}
        with ThreadPoolExecutor(max_workers=len(SOURCES) + 2) as pool:
            asked = {
                name: pool.submit(_held, name, str(endpoints.get(name) or ""), timeout) for name in self._programs()
            }
            busy, cards = pool.submit(load), pool.submit(gpus)
            reading = self._store.reading()
        manifest = reading.manifest
        names = self._params["names"]
        records = [
            record.as_dict() for name, record in sorted(manifest.models.items()) if names is None or name in names
        ]
        result: dict[str, t.Any] = {
            "models": records,
            "missing": [name for name in names or () if name not in manifest.models],
            "programs": {name: _told(name, answer, manifest) for name, answer in asked.items()},
            "usage": self._usage(manifest, busy.result(), summed(cards.result())),
            "operations": self._history(),
            "problems": list(reading.healed),
        }
        if self._params.get("model"):
            result["capabilities"] = self._capabilities(manifest)
        return Outcome(False, result=result)

    def _programs(self) -> list[str]:
        own = sorted(name for name, source in SOURCES.items() if source.keeps_own_bytes)
        wanted = self._params["programs"]
        return own if wanted is None else [name for name in own if name in wanted]

    def _history(self) -> dict[str, t.Any]:
        found = self._operations.all()
        limit = int(self._params["operations"])
        ended = [operation.as_dict() for operation in found if not operation.running]
        return {
            "running": [operation.as_dict() for operation in found if operation.running],
            "last": ended[::-1][: SHOWN if limit < 0 else limit],
        }

    def _usage(self, manifest: Manifest, busy: t.Mapping[str, float], cards: dict[str, t.Any]) -> dict[str, t.Any]:
        limit = float(self._params["max_disk_gb"])
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
            **cards,
            "models_count": len(manifest.models),
        }

    def _capabilities(self, manifest: Manifest) -> dict[str, t.Any]:
        """Of one model by its name: from the host where it is there, else from what its hub tells of it."""
        name = str(self._params["model"])
        for record in manifest.models.values():
            if name in (record.name, record.model):
                return {"from": "host", "name": record.name, **record.capabilities}
        request = request_from({"name": "asked", "source": self._params["source"], "model": name})
        options = SourceOptions(
            endpoint=self._params.get("endpoint") or "",
            token=self._params.get("token") or "",
            timeout=float(self._params["timeout"]),
        )
        try:
            told = source_named(request.reference.source, options).describe(request, render)
        except LlmError as failure:
            raise failure.about(f"Model {request.reference}") from None
        return {"from": request.reference.source, "name": None, **told}


def _held(name: str, endpoint: str, timeout: float) -> list[HeldModel]:
    return source_named(name, SourceOptions(endpoint=endpoint, timeout=timeout)).inventory()


def _told(name: str, answer: Future[list[HeldModel]], manifest: Manifest) -> dict[str, t.Any]:
    try:
        held = answer.result()
    except LlmError as failure:
        return {"reachable": False, "reason": failure.reason, "error": failure.what, "models": []}
    names = {record.model.lower(): record.name for record in manifest.models.values() if record.provider == name}
    models = [
        {
            "name": names.get(model.model.lower()),
            "provider": name,
            "model": model.model,
            "revision": model.revision,
            "size_bytes": model.size,
            "size_gb": round(model.size / GB, 3),
            "loaded": model.loaded,
            "details": dict(model.details),
        }
        for model in held
    ]
    return {"reachable": True, "reason": None, "error": None, "models": models}
