# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls of the stand-in for Docker Model Runner: from its registry into its store, with progress and with faults."""

from __future__ import annotations

import re
import threading
import time
import typing as t
from collections import Counter, defaultdict
from dataclasses import dataclass
from http import HTTPStatus

from docker_model_runner_store import (
    Artifact,
    BrokenPullError,
    Document,
    Entry,
    InvalidReferenceError,
    ModelNotFoundError,
    Registry,
    Store,
    normalized,
    sha256_of,
)
from stand_in import DroppedError, RefusedError

_FIRST = 32768
_PULLS_AT_ONCE = 2


@dataclass
class Fault:
    """One fault; it is used up after `times` uses.

    In pulls and remote looks, for references (`docker.io/ai/smollm2:latest`) that fit the regular expression
    `reference`: `manifest` is the status that the registry answers; `unreachable` has nobody answer; `unauthorized`
    refuses the token; `flip` inverts the byte at that offset of the first layer; `cut` ends the connection after that
    many bytes, and the rest is fetched in the same call; `error` is the text of a failure after the first progress,
    what was fetched is kept and resumed by the next call; `truncate` drops the client's connection there instead;
    `rate` slows to bytes a second.

    With `path`, a regular expression on "METHOD path": `status` with `text` answers instead, `hang` seconds pass
    before the answer, `close` ends the connection without one.
    """

    reference: str = ""
    times: int = 1_000_000
    manifest: int = 0
    unreachable: bool = False
    unauthorized: bool = False
    flip: int | None = None
    cut: int | None = None
    error: str = ""
    truncate: bool = False
    rate: int = 0
    path: str = ""
    status: int = 0
    text: str = ""
    hang: float = 0.0
    close: bool = False

    def use(self, pattern: str, value: str) -> bool:
        if self.times <= 0 or not re.search(pattern, value):
            return False
        self.times -= 1
        return True


class Faults:
    """The switchboard, and counters of what was asked and fetched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.fetched: Counter[str] = Counter()
        self.resumed: Counter[str] = Counter()
        self.tokens: list[str] = []

    def add(self, **words: t.Any) -> None:
        self.faults.append(Fault(**words))

    def of_request(self, request: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self.faults if fault.path and fault.use(fault.path, request)), None)

    def of_reference(self, reference: str) -> Fault:
        with self._lock:
            fits = (fault for fault in self.faults if not fault.path and fault.use(fault.reference, reference))
            return next(fits, Fault())

    def log(self) -> Document:
        counters = {"requests": self.requests, "fetched": self.fetched, "resumed": self.resumed}
        return {**{name: dict(counter) for name, counter in counters.items()}, "tokens": self.tokens}


def message(kind: str, text: str, total: int = 0, layer: Document | None = None) -> Document:
    return {
        "type": kind,
        "message": text,
        "total": total,
        "layer": layer or {"size": 0, "current": 0},
        "mode": "pull",
    }


def _resolving(reference: str, shown: str) -> tuple[str, str]:
    """How the real program names the place of a manifest: the beginning of the text, and its address."""
    name, _colon, tag = reference.rpartition(":")
    registry, _slash, path = name.partition("/")
    local = registry.startswith(("127.0.0.1", "localhost"))
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    address = f"{'http' if local else 'https'}://{host}/v2/{path}/manifests/{tag}"
    return f'failed to pull model "{shown}": UNKNOWN - resolving {reference}: ', address


class Pulls:
    """Fetches models. `lines` is the least number of progress lines of a layer, `seconds` the time one takes."""

    def __init__(self, store: Store, registry: Registry, faults: Faults) -> None:
        self.store, self.registry, self.faults = store, registry, faults
        self.lines = 2
        self.seconds = 0.0
        self._tokens = threading.Semaphore(_PULLS_AT_ONCE)
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def remote(self, reference: str, shown: str, fault: Fault) -> Artifact:
        """The published model, or the text with which the registry's answer is told."""
        beginning, address = _resolving(reference, shown)
        if fault.unauthorized:
            raise RefusedError(401, "Unauthorized")
        if fault.unreachable:
            host = address.split("/")[2]
            port = host if ":" in host else f"{host}:443"
            reason = f'failed to do request: Head "{address}": dial tcp {port}: connect: connection refused'
            raise RefusedError(500, beginning + reason)
        found = self.registry.find(reference)
        if fault.manifest in (401, 404) or (found is None and not fault.manifest):
            raise RefusedError(404, f'failed to pull model "{shown}": MANIFEST_UNKNOWN - Model not found')
        if fault.manifest or found is None:
            status = f"{fault.manifest} {HTTPStatus(fault.manifest).phrase}"
            raise RefusedError(500, f"{beginning}unexpected status from HEAD request to {address}: {status}")
        return found

    def inspect(self, reference: str) -> Artifact:
        """The registry's model, without a pull."""
        try:
            full = normalized(reference)
        except InvalidReferenceError:
            raise RefusedError(500, f"error while getting remote model: invalid reference: {reference}") from None
        try:
            return self.remote(full, reference, self.faults.of_reference(full))
        except RefusedError as refused:
            status = 404 if refused.status == 404 else 500
            raise RefusedError(status, f"error while getting remote model: {refused.text}") from None

    def pull(self, reference: str, token: str = "") -> t.Iterator[Document]:
        """Messages of a pull. RefusedError is raised before the first of them, BrokenPullError after."""
        with self._tokens:
            if token:
                self.faults.tokens.append(token)
            try:
                full = normalized(reference)
            except InvalidReferenceError:
                raise RefusedError(400, "Invalid model reference") from None
            fault = self.faults.of_reference(full)
            present = self._cached_for_ever(full)
            model = None if present else self._remote_for_pull(full, fault)
            if model is not None:
                present = next((entry for entry in self.store.entries() if entry.id == model.digest), None)
            if present is not None:
                self.store.tag(present.id, full)
                size = self.store.read(present).config["config"]["size"]
                yield message("success", f"Using cached model: {size}")
            elif model is not None:
                yield from self._fetch(model, full, fault)
                yield message("success", "Model pulled successfully")

    def _cached_for_ever(self, reference: str) -> Entry | None:
        """A model of Hugging Face that is here is never looked up again."""
        if not reference.startswith("huggingface.co/"):
            return None
        try:
            return self.store.find(reference)
        except ModelNotFoundError:
            return None

    def _remote_for_pull(self, reference: str, fault: Fault) -> Artifact:
        without_host = reference.removeprefix("docker.io/")
        try:
            return self.remote(reference, without_host, fault)
        except RefusedError as refused:
            known = {401: "Unauthorized", 404: "Model not found"}
            text = f"error while pulling model: reading model from registry: {refused.text}"
            raise RefusedError(refused.status, known.get(refused.status, text)) from None

    def _fetch(self, model: Artifact, reference: str, fault: Fault) -> t.Iterator[Document]:
        try:
            for index, layer in enumerate(model.layers):
                yield from self._layer(model, layer, reference, fault if index == 0 else Fault(rate=fault.rate))
        except BrokenPullError as broken:
            yield message("error", f"Error: {broken}")
            raise BrokenPullError(f"error while pulling model: writing image to store: {broken}") from None
        blobs = self.registry.blobs
        self.store.add(model, blobs.get(model.digest), blobs.get(model.manifest["config"]["digest"]), reference)

    def _layer(self, model: Artifact, layer: Document, reference: str, fault: Fault) -> t.Iterator[Document]:
        digest = layer["digest"]
        target, part = self.store.blobs.path(digest), self.store.blobs.incomplete(digest)
        with self._busy[digest]:
            if not target.exists():
                yield from self._blob(model, layer, reference, fault)
                part.replace(target)

    def _blob(self, model: Artifact, layer: Document, reference: str, fault: Fault) -> t.Iterator[Document]:
        digest, size = layer["digest"], layer["size"]
        part = self.store.blobs.incomplete(digest)
        part.parent.mkdir(parents=True, exist_ok=True)
        data = bytearray(self.registry.blobs.get(digest))
        if fault.flip is not None:
            data[fault.flip] ^= 0xFF
        done = part.stat().st_size if part.exists() else 0
        if done:
            self.faults.resumed[reference] += 1
        with part.open("ab") as file:
            while done < size or not size:
                stop = self._next_stop(done, size, fault)
                file.write(data[done:stop])
                file.flush()
                self.faults.fetched[reference] += stop - done
                time.sleep(max(self.seconds, (stop - done) / fault.rate if fault.rate else 0.0))
                done = stop
                if fault.cut == done and done < size:
                    self.faults.resumed[reference] += 1
                    continue
                yield message("progress", f"Downloaded: {done / 1048576:.2f} MB", model.total, {
                    "id": digest, "size": size, "current": done,
                })  # fmt: skip
                if fault.truncate:
                    raise DroppedError
                if fault.error:
                    raise BrokenPullError(fault.error)
                if not size:
                    break
        got = sha256_of(part.read_bytes())
        if got != digest:
            part.unlink()
            raise BrokenPullError(f'writing blob: blob digest mismatch for "{digest}": expected {digest}, got {got}')

    def _next_stop(self, done: int, size: int, fault: Fault) -> int:
        """Where the next line is due; a small first one, as over a real link, and the cut between two lines."""
        stop = min(_FIRST, size // 2) if done == 0 and size > 1 else size
        if done and (fault.rate or self.lines > 2):
            step = fault.rate // 20 if fault.rate else size // (self.lines - 1)
            stop = min(size, done + max(1, step))
        return fault.cut if fault.cut is not None and done < fault.cut < stop else stop
