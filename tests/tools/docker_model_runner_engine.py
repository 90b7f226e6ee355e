# SPDX-License-Identifier: GPL-3.0-or-later
"""The side of the stand-in for Docker Model Runner that serves: what is loaded, how it is configured, what it answers."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from docker_model_runner_store import Document, Entry, ModelNotFoundError, Store, short_name
from stand_in import RefusedError

STATUS = {
    "diffusers": "Not Installed",
    "llama.cpp": "Running: llama.cpp unknown",
    "mlx": "Not Installed: only supported on Apple Silicon",
    "sglang": "Not Installed: package not installed",
    "vllm": "Not Installed: binary not found",
}
_NEVER = "0001-01-01T00:00:00Z"
# The real program has a list of flags that are allowed; these are some that are not.
_REFUSED = {"--log-file", "--model", "-m", "--host", "--port", "--hf-repo", "--slot-save-path", "--api-key-file"}


@dataclass
class Loaded:
    """One model in memory, by the name it was asked for."""

    reference: str
    identity: str
    mode: str = "completion"
    last_used: str = _NEVER
    ready_at: float = 0.0
    in_use: int = 0
    context: int | None = None

    @property
    def loading(self) -> bool:
        return time.monotonic() < self.ready_at

    @contextlib.contextmanager
    def used(self) -> t.Iterator[None]:
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1
            self.last_used = _now()

    def described(self) -> Document:
        idle = not self.in_use and not self.loading
        document: Document = {
            "backend_name": "llama.cpp",
            "model_name": self.reference,
            "mode": self.mode,
            "last_used": self.last_used if idle else _NEVER,
        }
        if self.in_use and not self.loading:
            document["in_use"] = True
        return {**document, "loading": True} if self.loading else document


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class Engine:
    """Models in memory. A deleted model stays there until all are unloaded.

    `load_seconds` pass before the first answer of a model, `reload_seconds` after it was configured (an answer ends
    that early). `answers` has sentences by tag; otherwise a model says `answer` with its name put in.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loaded: dict[str, Loaded] = {}
        self.configured: dict[str, Document] = {}
        self.status = dict(STATUS)
        self.load_seconds = 0.0
        self.reload_seconds = 0.3
        self.answer = "Model {name} speaking from this host."
        self.answers: dict[str, str] = {}
        self._lock = threading.Lock()

    def backend(self, name: str | None) -> str:
        if name and name not in self.status:
            raise RefusedError(404, "backend not found")
        return name or "llama.cpp"

    def _find(self, reference: str) -> Entry:
        try:
            return self.store.find(reference)
        except ModelNotFoundError:
            quoted = json.dumps(reference)
            raise RefusedError(404, f"error while getting model: get model '{quoted}': model not found") from None

    def request(self, backend: str | None, request: t.Any) -> Loaded:
        """The model that is to answer, loaded."""
        backend = self.backend(backend)
        if not isinstance(request, dict):
            raise RefusedError(400, "invalid request")
        if not request.get("model"):
            raise RefusedError(400, "model is required")
        entry = self._find(request["model"])
        if backend == "vllm":
            raise RefusedError(412, "vLLM binary not found")
        if backend != "llama.cpp":
            raise RefusedError(503, f"backend installation failed: {self.status[backend]}")
        return self._load(request["model"], entry)

    def _load(self, reference: str, entry: Entry) -> Loaded:
        with self._lock:
            loaded = self.loaded.get(entry.id)
            if loaded is None:
                ready_at = time.monotonic() + self.load_seconds
                loaded = Loaded(reference, entry.id, ready_at=ready_at, context=self._context(entry))
                self.loaded[entry.id] = loaded
                wait = self.load_seconds
            else:
                wait = 0.0
        self.store.unpack(entry)
        time.sleep(wait)
        loaded.ready_at, loaded.last_used = 0.0, _now()
        return loaded

    def running(self) -> list[Document]:
        with self._lock:
            return [{**loaded.described(), **self._kept(loaded)} for loaded in self.loaded.values()]

    def _kept(self, loaded: Loaded) -> Document:
        config = self.configured.get(loaded.identity, {}).get("Config", {})
        return {"keep_alive": config["keep_alive"]} if "keep_alive" in config and not loaded.loading else {}

    def _context(self, entry: Entry) -> int | None:
        """What a model is loaded with: as it was configured, else as its own description says."""
        config = self.configured.get(entry.id, {}).get("Config", {})
        own = self.store.read(entry).config["config"].get("context_size")
        context: int | None = config.get("context-size", own)
        return context

    def unload(self, request: Document) -> int:
        """How many went. One that loads or works stays, and so does one whose name is no longer known.

        How it was configured is forgotten only where the request names the backend.
        """
        with self._lock:
            identities = {self._identity(name) for name in request.get("models") or []}
            gone = [
                identity
                for identity, loaded in self.loaded.items()
                if (request.get("all") or identity in identities) and not loaded.loading and not loaded.in_use
            ]
            for identity in gone:
                del self.loaded[identity]
            for identity, configured in list(self.configured.items()):
                if request.get("all") or (identity in identities and configured["Backend"] == request.get("backend")):
                    del self.configured[identity]
            return len(gone)

    def _identity(self, reference: str) -> str:
        try:
            return self.store.find(reference).id
        except ModelNotFoundError:
            return reference

    def configure(self, backend: str | None, request: t.Any) -> None:
        """Keep it and load the model with it; an unknown model is taken too.

        What is loaded so stays, and what is loading otherwise goes on loading otherwise.
        """
        backend = self.backend(backend)
        if not isinstance(request, dict):
            raise RefusedError(400, "invalid request")
        flags = [*request.get("raw-runtime-flags", "").split(), *request.get("runtime-flags", [])]
        for flag in flags:
            if flag.split("=")[0] in _REFUSED:
                raise RefusedError(500, f'runtime flag "{flag.split("=")[0]}" is not allowed for backend "{backend}"')
            if "/" in flag or "\\" in flag:
                raise RefusedError(
                    500, f"invalid runtime flag {json.dumps(flag)}: paths are not allowed (contains '/' or '\\\\')"
                )
        reference = request.get("model", "")
        identity = self._identity(reference)
        config = {key: request[key] for key in ("context-size", "keep_alive", "llamacpp", "vllm") if key in request}
        if flags:
            config["runtime-flags"] = flags
        wanted = {
            "Backend": backend, "Model": reference, "ModelID": identity,
            "Mode": request.get("mode", "completion"), "Config": config,
        }  # fmt: skip
        with self._lock:
            loaded = self.loaded.get(identity)
            same = self.configured.get(identity, {}).get("Config") == config
            if loaded and loaded.in_use and not same:
                raise RefusedError(409, "runner already active")
            self.configured[identity] = wanted
            entry = next((entry for entry in self.store.entries() if entry.id == identity), None)
            if entry and not (loaded and (same or loaded.loading)):
                self.loaded.pop(identity, None)
                ready_at = time.monotonic() + self.reload_seconds
                self.loaded[identity] = Loaded(reference, identity, ready_at=ready_at, context=self._context(entry))

    def configurations(self, reference: str = "") -> list[Document]:
        identity, known = self._identity(reference), [entry.id for entry in self.store.entries()]
        return [
            entry
            for entry in self.configured.values()
            if entry["ModelID"] in known and (not reference or entry["ModelID"] == identity)
        ]

    def sentence(self, identity: str) -> str:
        entry = self.store.find(identity)
        for tag in entry.tags:
            if tag in self.answers:
                return self.answers[tag]
        name = self.store.read(entry).config["config"].get("gguf", {}).get("general.name")
        return self.answer.replace("{name}", name or (short_name(entry.tags[0]) if entry.tags else entry.id))

    def _base(self, loaded: Loaded, kind: str) -> Document:
        path = self.store.bundle(loaded.identity) / "model" / "model.gguf"
        return {
            "created": int(time.time()),
            "model": str(path),
            "system_fingerprint": "b1-0c1e570",
            "object": kind,
            "id": f"chatcmpl-{loaded.identity[7:39]}",
        }

    def completion(self, loaded: Loaded) -> Document:
        """The answer of llama.cpp; `model` is the path of the bundle, so it tells which digest answered."""
        text = self.sentence(loaded.identity)
        choice = {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": text}}
        return {"choices": [choice], **self._base(loaded, "chat.completion"), **_spent(text)}

    def chunks(self, loaded: Loaded, with_usage: bool) -> t.Iterator[Document]:
        base = self._base(loaded, "chat.completion.chunk")
        text = self.sentence(loaded.identity)
        words = re.findall(r" ?[^ ]+", text)
        deltas: list[Document] = [{"role": "assistant", "content": None}, *({"content": word} for word in words), {}]
        for delta in deltas:
            yield {"choices": [{"finish_reason": None if delta else "stop", "index": 0, "delta": delta}], **base}
        if with_usage:
            yield {"choices": [], **base, **_spent(text)}


def _spent(text: str) -> Document:
    predicted = len(text.split()) + 1
    return {
        "usage": {
            "completion_tokens": predicted,
            "prompt_tokens": 29,
            "total_tokens": 29 + predicted,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "timings": {
            "cache_n": 0, "prompt_n": 29, "prompt_ms": 1.0, "prompt_per_token_ms": 1.0 / 29,
            "prompt_per_second": 29000.0, "predicted_n": predicted, "predicted_ms": 1.0 * predicted,
            "predicted_per_token_ms": 1.0, "predicted_per_second": 1000.0,
        },
    }  # fmt: skip
