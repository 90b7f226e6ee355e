# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for Docker Model Runner keeps: references, descriptions of GGUF files, models and a registry on disk.

Both folders hold JSON and blobs by digest. A model's id is the digest of its manifest, as in the real program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

Files = t.Mapping[str, t.Union[bytes, Path]]
Document = dict[str, t.Any]
_BLOCK = 1 << 20
_CREATED = 1742816981
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_MEDIA_TYPES = {
    ".gguf": "application/vnd.docker.ai.gguf.v3",
    ".safetensors": "application/vnd.docker.ai.safetensors",
    ".mmproj": "application/vnd.docker.ai.mmproj",
}
_LONGEST_ARRAY = 50
_FILE_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 10: "Q2_K", 14: "Q4_K_S", 15: "Q4_K_M", 17: "Q5_K_M", 18: "Q6_K"}  # fmt: skip


class InvalidReferenceError(ValueError):
    """A name that is no reference."""


class ModelNotFoundError(LookupError):
    """No such model in the store."""


class BrokenPullError(Exception):
    """A pull that ended after its first progress."""


def sha256_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def normalized(reference: str) -> str:
    """`chat` is `docker.io/ai/chat:latest`; the name is in lower case, the tag stays as it is."""
    reference = reference.strip().split("@sha256", 1)[0]
    reference = re.sub(r"^hf\.co/", "huggingface.co/", reference)
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        name, tag = reference, ""
    name, tag = name.lower(), tag or "latest"
    if "/" not in name:
        name = f"ai/{name}"
    if not _NAME.fullmatch(name) or not _TAG.fullmatch(tag):
        raise InvalidReferenceError(reference)
    registry = name.split("/")[0]
    if not re.search(r"[.:]", registry) and registry != "localhost":
        name = f"docker.io/{name}"
    return f"{name}:{tag}"


def short_name(tag: str) -> str:
    return tag.rpartition(":")[0].rpartition("/")[2]


class _Reader:
    """The header of a GGUF file, read value by value."""

    _PLAIN: t.ClassVar = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    def take(self, format_: str) -> t.Any:
        value = struct.unpack_from(f"<{format_}", self.data, self.offset)[0]
        self.offset += struct.calcsize(f"<{format_}")
        return value

    def text(self) -> str:
        length = self.take("Q")
        self.offset += length
        return self.data[self.offset - length : self.offset].decode()

    def value(self, kind: int) -> str | None:
        """As Docker shows it; None for an array that is too long to be shown."""
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, count = self.take("I"), self.take("Q")
            values = [self.value(inner) for _ in range(count)]
            return ", ".join(value or "" for value in values) if count <= _LONGEST_ARRAY else None
        value = self.take(self._PLAIN[kind])
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:f}" if isinstance(value, float) else str(value)


def _with_unit(number: float, step: int, units: list[str]) -> str:
    for unit in units:
        if number < step or unit == units[-1]:
            return f"{number:.2f}{unit}"
        number /= step
    raise ValueError("no units")


def _size_text(size: int) -> str:
    return _with_unit(size, 1024, ["B", "KiB", "MiB", "GiB", "TiB"])


def gguf_config(data: bytes) -> Document:
    """What Docker says of a GGUF file. Bytes that only call themselves so have a size and nothing else."""
    if data[:4] != b"GGUF":
        return {"format": "gguf", "size": _size_text(len(data)), "gguf": {}}
    reader = _Reader(data)
    reader.offset = 8
    tensors, pairs = reader.take("Q"), reader.take("Q")
    metadata: dict[str, str] = {}
    for _ in range(pairs):
        key = reader.text()
        value = reader.value(reader.take("I"))
        if value is not None:
            metadata[key] = value
    parameters = 0
    for _ in range(tensors):
        reader.text()
        elements = 1
        for _ in range(reader.take("I")):
            elements *= reader.take("Q")
        parameters += elements
        reader.offset += 12
    start = reader.offset + -reader.offset % int(metadata.get("general.alignment", 32))
    architecture = metadata.get("general.architecture", "")
    file_type = int(metadata.get("general.file_type", -1))
    config = {
        "format": "gguf",
        "quantization": "MOSTLY_" + _FILE_TYPES.get(file_type, "UNKNOWN"),
        "parameters": _with_unit(parameters, 1000, ["", "K", "M", "B", "T"]),
        "architecture": architecture,
        "size": _size_text(len(data) - start),
        "gguf": dict(sorted(metadata.items())),
    }
    context = int(metadata.get(f"{architecture}.context_length", 0))
    return {**config, "context_size": context} if context else config


def _config_of(files: Files) -> Document:
    ggufs = [path for path in sorted(files) if path.endswith(".gguf")]
    if ggufs:
        return gguf_config(_bytes(files[ggufs[0]]))
    return {"format": "safetensors", "size": _size_text(sum(len(_bytes(data)) for data in files.values()))}


def _bytes(data: bytes | Path) -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()


class Blobs:
    """Bytes by digest in `<root>/<kind>/sha256/<hex>`."""

    def __init__(self, root: Path, kind: str = "blobs") -> None:
        self.folder = root / kind / "sha256"

    def path(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def incomplete(self, digest: str) -> Path:
        return self.path(digest).with_suffix(".incomplete")

    def put(self, data: bytes) -> str:
        digest = sha256_of(data)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(digest).write_bytes(data)
        return digest

    def get(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()


def write_json(path: Path, document: t.Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(document, indent=2))
    os.replace(beside, path)


@dataclass(frozen=True)
class Artifact:
    """A model as its manifest tells it."""

    digest: str
    manifest: Document
    config: Document

    @property
    def layers(self) -> list[Document]:
        layers: list[Document] = self.manifest["layers"]
        return layers

    @property
    def total(self) -> int:
        return sum(layer["size"] for layer in self.layers)

    def described(self, tags: t.Sequence[str] = ()) -> Document:
        document: Document = {"id": self.digest}
        if tags:
            document["tags"] = list(tags)
        return {**document, "created": self.config["created"], "config": self.config["config"]}


class Registry:
    """Published models. A tag can be published again with other files; what was pulled before stays where it is."""

    def __init__(self, root: Path) -> None:
        self._path = root / "published.json"
        self.blobs = Blobs(root)

    def _published(self) -> dict[str, str]:
        published: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        return published

    def publish(self, reference: str, files: Files, created: int = _CREATED) -> str:
        """Point the tag at a model of these files; the same files always have the same digest."""
        layers = []
        for path, data in sorted(files.items()):
            digest = self.blobs.put(_bytes(data))
            size = self.blobs.path(digest).stat().st_size
            media_type = _MEDIA_TYPES.get(Path(path).suffix, "application/vnd.docker.ai.license")
            annotations = {"org.cncf.model.filepath": path}
            layers.append({"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations})
        config = json.dumps({"config": _config_of(files), "created": created}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"digest": self.blobs.put(config), "size": len(config)},
            "layers": layers,
        }
        digest = self.blobs.put(json.dumps(manifest).encode())
        write_json(self._path, {**self._published(), normalized(reference): digest})
        return digest

    def withdraw(self, reference: str) -> None:
        published = self._published()
        published.pop(normalized(reference), None)
        write_json(self._path, published)

    def find(self, reference: str) -> Artifact | None:
        digest = self._published().get(normalized(reference))
        return None if digest is None else artifact(digest, self.blobs.get(digest), self.blobs)


def artifact(digest: str, manifest: bytes, blobs: Blobs) -> Artifact:
    document = json.loads(manifest)
    return Artifact(digest, document, json.loads(blobs.get(document["config"]["digest"])))


@dataclass
class Entry:
    """A model in the index: its id, its tags, the digests of its blobs."""

    id: str
    tags: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


class Store:
    """The models of one runner: `models.json`, manifests, blobs and bundles in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs, self.manifests = Blobs(root), Blobs(root, "manifests")
        self.lock = threading.RLock()
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "models.json").exists():
            self._write([])

    def entries(self) -> list[Entry]:
        with self.lock:
            return [Entry(**entry) for entry in json.loads((self.root / "models.json").read_text())["models"]]

    def _write(self, entries: list[Entry]) -> None:
        write_json(self.root / "models.json", {"models": [entry.__dict__ for entry in entries]})

    def read(self, entry: Entry) -> Artifact:
        return artifact(entry.id, self.manifests.get(entry.id), self.blobs)

    def described(self, entry: Entry) -> Document:
        return self.read(entry).described(entry.tags)

    def _is(self, entry: Entry, reference: str) -> bool:
        reference = reference.rpartition("@")[2]
        if re.fullmatch(r"(sha256:)?[0-9a-f]{64}|[0-9a-f]{12}", reference):
            return entry.id.removeprefix("sha256:").startswith(reference.removeprefix("sha256:"))
        try:
            return normalized(reference) in entry.tags
        except InvalidReferenceError:
            return False

    def find(self, reference: str) -> Entry:
        """By full or short id, or by its name."""
        for entry in self.entries():
            if self._is(entry, reference):
                return entry
        raise ModelNotFoundError(reference)

    def find_by_part(self, reference: str) -> Entry:
        """As find, or by the last part of the name in any registry."""
        try:
            return self.find(reference)
        except ModelNotFoundError:
            for entry in self.entries():
                if any(short_name(tag) == reference for tag in entry.tags):
                    return entry
            raise

    def add(self, model: Artifact, manifest: bytes, config: bytes, reference: str) -> None:
        """Make what was pulled a model; the tag leaves the model that had it."""
        with self.lock:
            self.manifests.put(manifest)
            self.blobs.put(config)
            files = [*(layer["digest"] for layer in model.layers), model.manifest["config"]["digest"]]
            if all(entry.id != model.digest for entry in self.entries()):
                self._write([*self.entries(), Entry(model.digest, [], files)])
            self.tag(model.digest, reference)

    def tag(self, reference: str, target: str) -> None:
        with self.lock:
            wanted, entries = self.find_by_part(reference).id, self.entries()
            tag = normalized(target)
            for entry in entries:
                if entry.id == wanted and tag not in entry.tags:
                    entry.tags.append(tag)
                elif entry.id != wanted and tag in entry.tags:
                    entry.tags.remove(tag)
            self._write(entries)

    def delete(self, reference: str, force: bool = False) -> list[dict[str, str]] | None:
        """What was done, or None for a model of several tags that is asked for by its id."""
        with self.lock:
            found, done = self.find(reference), []
            by_id = "@" in reference or found.id.removeprefix("sha256:").startswith(reference.removeprefix("sha256:"))
            several = len(found.tags) > 1
            if by_id and several and not force:
                return None
            entries = self.entries()
            if not by_id:
                tag = normalized(reference)
                done.append({"Untagged": tag})
                next(entry for entry in entries if entry.id == found.id).tags.remove(tag)
                found.tags.remove(tag)
                if several:
                    self._write(entries)
                    return done
            self._write([entry for entry in entries if entry.id != found.id])
            self._forget(found)
            return [*done, *({"Untagged": tag} for tag in found.tags), {"Deleted": found.id}]

    def _forget(self, gone: Entry) -> None:
        kept = {digest for entry in self.entries() for digest in entry.files}
        for digest in set(gone.files) - kept:
            self.blobs.path(digest).unlink(missing_ok=True)
        self.manifests.path(gone.id).unlink(missing_ok=True)
        shutil.rmtree(self.bundle(gone.id), ignore_errors=True)

    def purge(self) -> None:
        with self.lock:
            for folder in ("blobs", "manifests", "bundles"):
                shutil.rmtree(self.root / folder, ignore_errors=True)
            self._write([])

    def bundle(self, digest: str) -> Path:
        return self.root / "bundles" / "sha256" / digest.removeprefix("sha256:")

    def unpack(self, entry: Entry) -> Path:
        """The bundle that an engine is given: the model's file under a name of its own."""
        target = self.bundle(entry.id) / "model" / "model.gguf"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.blobs.path(entry.files[0]), target)
        return target

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
