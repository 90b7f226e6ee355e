# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of the Ollama stand-in: names, manifests and blobs on the disk in Ollama's own layout.

<models>/manifests/<host>/<namespace>/<model>/<tag>     <models>/blobs/sha256-<hex>[-partial[-<part>]]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
MODEL_LAYER = "application/vnd.ollama.image.model"
TEMPLATE_LAYER = "application/vnd.ollama.image.template"
SYSTEM_LAYER = "application/vnd.ollama.image.system"
PARAMETERS_LAYER = "application/vnd.ollama.image.params"
LICENSE_LAYER = "application/vnd.ollama.image.license"
MESSAGES_LAYER = "application/vnd.ollama.image.messages"
CONFIG_LAYER = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

_PARTS = {
    "host": re.compile(r"\w[\w.:-]{0,349}", re.ASCII),
    "namespace": re.compile(r"\w[\w-]{0,79}", re.ASCII),
    "model": re.compile(r"\w[\w.-]{0,79}", re.ASCII),
    "tag": re.compile(r"\w[\w.-]{0,79}", re.ASCII),
}
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Name:
    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name | None:
        """The name with every part given, or nothing when it is not a name."""
        text = re.sub(r"^https?://", "", text)
        rest, _, tag = text.rpartition(":")
        if not rest or "/" in tag:
            rest, tag = text, TAG
        host, namespace, model = ["", "", *rest.split("/")][-3:]
        name = cls(host or HOST, namespace or NAMESPACE, model, tag)
        valid = all(pattern.fullmatch(getattr(name, part)) for part, pattern in _PARTS.items())
        return name if valid and rest.count("/") <= 2 else None

    @property
    def shortest(self) -> str:
        if self.host.lower() != HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.lower() != NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def parts(self) -> tuple[str, str, str, str]:
        return (self.host, self.namespace, self.model, self.tag)

    def same(self, other: Name) -> bool:
        return [part.lower() for part in self.parts] == [part.lower() for part in other.parts]


@dataclass(frozen=True)
class Manifest:
    name: Name
    raw: bytes
    changed: float
    changed_ns: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def document(self) -> dict[str, t.Any]:
        document: dict[str, t.Any] = json.loads(self.raw)
        return document

    @property
    def layers(self) -> list[dict[str, t.Any]]:
        return list(self.document.get("layers") or [])

    @property
    def every_layer(self) -> list[dict[str, t.Any]]:
        """The layers and the configuration, in the order in which they are pulled."""
        config = self.document.get("config") or {}
        return [*self.layers, *([config] if config.get("digest") else [])]

    @property
    def digests(self) -> set[str]:
        return {layer["digest"] for layer in self.every_layer}

    @property
    def size(self) -> int:
        return sum(layer["size"] for layer in self.every_layer)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return "sha256:" + sha256.hexdigest()


def valid_digest(digest: str) -> bool:
    return _DIGEST.fullmatch(digest) is not None


class Store:
    """Everything is read from the disk each time: what is put or damaged there from outside counts at once."""

    def __init__(self, models: Path) -> None:
        self.models = models.resolve()
        self.manifests_folder = self.models / "manifests"
        self.blobs_folder = self.models / "blobs"
        self.manifests_folder.mkdir(parents=True, exist_ok=True)
        self.blobs_folder.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        return self.blobs_folder / digest.replace(":", "-")

    def put(self, data: bytes) -> tuple[str, bool]:
        """Keep the bytes under their digest; tells the digest and whether it is new."""
        digest = digest_of(data)
        path = self.blob(digest)
        if path.exists():
            return digest, False
        partial = path.with_name(f"{path.name}-upload")
        partial.write_bytes(data)
        partial.replace(path)
        return digest, True

    def manifests(self) -> list[Manifest]:
        found = []
        for path in sorted(self.manifests_folder.glob("*/*/*/*")):
            with contextlib.suppress(OSError, ValueError):
                manifest = self._read(path)
                if isinstance(manifest.document, dict):
                    found.append(manifest)
        return found

    def _read(self, path: Path) -> Manifest:
        state = path.stat()
        parts = path.relative_to(self.manifests_folder).parts
        return Manifest(Name(*parts), path.read_bytes(), state.st_mtime, state.st_mtime_ns)

    def find(self, name: Name) -> Manifest | None:
        """The manifest of a name, whatever the case of its letters."""
        return next((manifest for manifest in self.manifests() if manifest.name.same(name)), None)

    def find_text(self, text: str) -> Manifest | None:
        name = Name.parse(text)
        return self.find(name) if name else None

    def _path(self, name: Name) -> Path:
        return self.manifests_folder.joinpath(*name.parts)

    def write(self, name: Name, raw: bytes) -> None:
        existing = self.find(name)
        path = self._path(existing.name if existing else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)

    def delete(self, manifest: Manifest) -> None:
        path = self._path(manifest.name)
        path.unlink()
        for folder in list(path.parents)[:3]:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.remove_unused(manifest.digests)

    def remove_unused(self, digests: t.Iterable[str]) -> None:
        """Remove those of the blobs that no manifest names."""
        used = {digest for manifest in self.manifests() for digest in manifest.digests}
        for digest in set(digests) - used:
            self.blob(digest).unlink(missing_ok=True)

    def prune(self) -> None:
        """What a daemon removes when it starts: blobs that no manifest names, and part files older than an hour."""
        used = {self.blob(digest) for manifest in self.manifests() for digest in manifest.digests}
        for path in self.blobs_folder.iterdir():
            partial = "-partial" in path.name
            if path not in used and (not partial or path.stat().st_mtime < time.time() - 3600):
                path.unlink()
