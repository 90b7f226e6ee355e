# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that the Ollama stand-in holds in memory, and what they answer.

As in the daemon, a loaded model is known by its weights: another tag with the same weights uses what is loaded, or
takes its place when the context differs; a tag that moved to other weights stands beside its old self. In a daemon
that is a program each loaded model has a process (`spawns`).
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import ollama_llama_server
from ollama_models import Models, RefusedError, go_json, go_time
from ollama_store import MODEL_LAYER, Manifest, file_digest
from reciter import sentence_of

_FOREVER = (2**63 - 1) / 1e9
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Bytes in memory beside the weights.
_OVERHEAD, _PER_TOKEN = 231_400, 9_526
_BROKEN = "GGUF string length 6023020544 exceeds maximum 16777216"


@dataclass
class Loaded:
    manifest: Manifest
    weights: str
    details: dict[str, t.Any]
    size: int
    context: int
    expires: float
    process: subprocess.Popen[bytes] | None = None

    @property
    def lives(self) -> bool:
        return self.process is None or self.process.poll() is None


def seconds_of(keep_alive: t.Any) -> float:
    """A number of seconds, or a duration in Go's words; below zero is for ever."""
    if isinstance(keep_alive, (int, float)):
        seconds = float(keep_alive)
    else:
        match = re.fullmatch(r"([-+]?)((?:[\d.]+(?:ns|us|µs|ms|s|m|h))+|0)", str(keep_alive))
        if not match:
            raise RefusedError(f'time: invalid duration "{keep_alive}"', 400)
        pieces = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", match[2])
        seconds = sum(float(number) * _UNITS[unit] for number, unit in pieces) * (-1 if match[1] == "-" else 1)
    return _FOREVER if seconds < 0 else seconds


class Memory:
    """`load_seconds` pass in a load, `unload_seconds` between the answer to an unload and its end."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.loaded: list[Loaded] = []
        self.sentence = ""
        self.keep_alive: t.Any = "5m"
        self.context_length = 4096
        self.load_seconds, self.unload_seconds = 0.0, 0.3
        self.vram_share = 0.0
        self.spawns = False
        self._lock = threading.RLock()
        self._whole: set[tuple[Path, int, int]] = set()

    def _weights(self, manifest: Manifest) -> str:
        layer = self.models.layer(manifest, MODEL_LAYER)
        return str(layer["digest"]) if layer else ""

    def _check(self, digest: str) -> None:
        path = self.models.store.blob(digest)
        if not path.exists():
            raise RefusedError(f"open {path}: no such file or directory", 500)
        state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key in self._whole:
            return
        if file_digest(path) != digest:
            raise RefusedError(_BROKEN, 500)
        self._whole.add(key)

    def load(self, manifest: Manifest, options: dict[str, t.Any], keep_alive: t.Any) -> None:
        seconds = seconds_of(self.keep_alive if keep_alive is None else keep_alive)
        weights = self._weights(manifest)
        header = self.models.header(manifest)
        asked = options.get("num_ctx") or self.models.parameters(manifest).get("num_ctx") or self.context_length
        context = min(int(asked), int(header.of_architecture("context_length") or asked))
        with self._lock:
            existing = next((entry for entry in self.loaded if entry.weights == weights), None)
            if existing is None or existing.context != context or not existing.lives:
                self._check(weights)
                time.sleep(self.load_seconds)
                self._keep(lambda entry: entry is not existing)
                blob = self.models.store.blob(weights)
                size = blob.stat().st_size + _OVERHEAD + _PER_TOKEN * context
                details = {**self.models.details(manifest), "parent_model": ""}
                process = ollama_llama_server.start(blob, context) if self.spawns else None
                existing = Loaded(manifest, weights, details, size, context, 0, process)
                self.loaded.append(existing)
            existing.expires = time.time() + seconds

    def unload(self, manifest: Manifest) -> None:
        weights = self._weights(manifest)
        if self.unload_seconds > 0:
            timer = threading.Timer(self.unload_seconds, self._drop, [weights])
            timer.daemon = True
            timer.start()
        else:
            self._drop(weights)

    def _drop(self, weights: str) -> None:
        with self._lock:
            self._keep(lambda entry: entry.weights != weights)

    def _keep(self, stays: t.Callable[[Loaded], bool]) -> None:
        for entry in self.loaded:
            if entry.process and not stays(entry):
                ollama_llama_server.end(entry.process)
        self.loaded = [entry for entry in self.loaded if stays(entry)]

    def end(self) -> None:
        with self._lock:
            self._keep(lambda _entry: False)

    def listed(self) -> list[dict[str, t.Any]]:
        """The entries of /api/ps, the one that stays longest first."""
        now = time.time()
        with self._lock:
            self._keep(lambda entry: entry.expires > now)
            entries = sorted(self.loaded, key=lambda entry: -int(entry.expires))
        return [
            {
                "name": entry.manifest.name.shortest,
                "model": entry.manifest.name.shortest,
                "size": entry.size,
                "digest": entry.manifest.digest,
                "details": entry.details,
                "expires_at": go_time(entry.expires),
                "size_vram": int(entry.size * self.vram_share),
                "context_length": entry.context,
            }
            for entry in entries
        ]

    def words(self, manifest: Manifest, limit: int) -> tuple[list[str], str]:
        """What the model says, word by word, and why it ended."""
        name = str(self.models.header(manifest).values.get("general.name", manifest.name.model))
        words = re.findall(r"\s*\S+", self.sentence or sentence_of(name))
        return (words[:limit], "length") if 0 < limit < len(words) else (words, "stop")


def answers(
    memory: Memory, manifest: Manifest, body: dict[str, t.Any], kind: str
) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
    """The lines of a stream, and the one answer without a stream; `kind` is generate or chat."""
    options = dict(body.get("options") or {})
    words, reason = memory.words(manifest, int(options.get("num_predict") or 0))

    def line(text: str, done: bool, **more: t.Any) -> dict[str, t.Any]:
        said = {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"response": text}
        return {"model": body["model"], "created_at": go_time(time.time()), **said, "done": done, **more}

    prompt = len(str(body.get("prompt") or body.get("messages") or "").split())
    end: dict[str, t.Any] = {"done_reason": reason}
    if kind == "generate":
        end["context"] = list(range(prompt + len(words)))
    end |= {"total_duration": 14102868, "load_duration": 864792, "prompt_eval_count": prompt,
            "prompt_eval_duration": 5617000, "eval_count": len(words) + (reason == "stop"),
            "eval_duration": 1651000}  # fmt: skip
    lines = [line(word, False) for word in words] + [line("", True, **end)]
    return lines, line("".join(words), True, **end)


def bare_answer(body: dict[str, t.Any], kind: str, reason: str) -> dict[str, t.Any]:
    """The answer to a load or an unload."""
    said = {"message": {"role": "assistant", "content": ""}} if kind == "chat" else {"response": ""}
    return {"model": body["model"], "created_at": go_time(time.time()), **said, "done": True, "done_reason": reason}


def openai_answer(memory: Memory, manifest: Manifest, body: dict[str, t.Any], chat: bool) -> dict[str, t.Any]:
    words, reason = memory.words(manifest, int(body.get("max_tokens") or 0))
    text = "".join(words)
    said: dict[str, t.Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    prompt, count = 49, len(words) + (reason == "stop")
    place = {"index": 0, **said} if chat else {**said, "index": 0}
    return {
        "id": "chatcmpl-542" if chat else "cmpl-460",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": "fp_ollama",
        "choices": [{**place, "finish_reason": reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count},
    }


def openai_stream(memory: Memory, manifest: Manifest, body: dict[str, t.Any]) -> t.Iterator[str]:
    """The events of a streamed chat."""
    words, reason = memory.words(manifest, int(body.get("max_tokens") or 0))
    whole = openai_answer(memory, manifest, body, True)
    head = {**{key: whole[key] for key in ("id", "created", "model", "system_fingerprint")}}
    head = {"id": head.pop("id"), "object": "chat.completion.chunk", **head}
    for index, word in enumerate(words):
        delta = {"role": "assistant", "content": word} if index == 0 else {"content": word}
        yield go_json({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield go_json({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield go_json({**head, "choices": [], "usage": whole["usage"]})
    yield "[DONE]"
