# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-ins for LM Studio keep: models in `<home>/models/<publisher>/<repository>/<file>.gguf`, and a catalogue.

What is listed is what lies in the folder, so a model whose folder is removed is gone. The catalogue of what can be
downloaded is a folder beside the home. Keys are `publisher/repository` in lower case; a model of the catalogue may lie
in another folder than its key says, as real ones do.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from docker_model_runner_store import Blobs, gguf_config, write_json

Document = dict[str, t.Any]
_HUB = re.compile(r"(?:https://)?(?:huggingface\.co|hf\.co)/")
_QUANTIZATION = re.compile(r"(?i)(?<=[-.])(IQ\d\w*|Q\d\w*|BF16|F16|F32)(?=\.gguf$)")
_PREFERRED = "Q4_K_M"


def is_link(name: str) -> bool:
    return bool(_HUB.match(name))


def key_of(name: str) -> str:
    """`https://huggingface.co/Org/Model` and `Org/Model@q8_0` are `org/model`."""
    return _HUB.sub("", name).split("@", 1)[0].rstrip("/").lower()


@dataclass(frozen=True)
class File:
    """One file of a model: a variant of it."""

    path: Path
    quantization: str

    @property
    def bits(self) -> int:
        return int((re.search(r"\d+", self.quantization) or ["0"])[0])


@dataclass(frozen=True)
class Model:
    """One folder of files."""

    key: str
    publisher: str
    files: tuple[File, ...]

    @property
    def chosen(self) -> File:
        return next((file for file in self.files if file.quantization == _PREFERRED), self.files[0])

    @property
    def variants(self) -> list[str]:
        return [f"{self.key}@{file.quantization.lower()}" for file in self.files]

    def facts(self) -> Document:
        """What of it the API and the command tell alike."""
        config = gguf_config(self.chosen.path.read_bytes())
        return {
            "architecture": config.get("architecture", ""),
            "parameters": config.get("parameters", ""),
            "context": config.get("context_size", 4096),
            "size": self.chosen.path.stat().st_size,
            "name": config["gguf"].get("general.name") or self.key.rpartition("/")[2],
            "selected": f"{self.key}@{self.chosen.quantization.lower()}",
        }


class Home:
    """One user's folder, `~/.lmstudio`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = root / "models"
        self.marker = root / "daemon-started"
        self._server = root / ".internal" / "stand-in-server.json"
        self._keys = root / ".internal" / "stand-in-keys.json"
        catalogue = root.with_name(root.name + ".catalogue")
        self._catalogue, self._blobs = catalogue / "catalogue.json", Blobs(catalogue)

    def publish(self, name: str, quantization: str, data: bytes, folder: str = "") -> None:
        """Make a model downloadable. `folder` is where it is put, if not where its key says."""
        place = folder or _HUB.sub("", name)
        entry = {"quantization": quantization, "digest": self._blobs.put(data), "size": len(data), "folder": place}
        catalogue = self._read(self._catalogue)
        others = [one for one in catalogue.get(key_of(name), []) if one["quantization"] != quantization]
        write_json(self._catalogue, {**catalogue, key_of(name): [*others, entry]})

    def published(self, name: str, quantization: str = "") -> Document | None:
        """The catalogue's entry: of this quantization, or the preferred, or the first."""
        wanted = (quantization or name.partition("@")[2]).upper()
        entries: list[Document] = self._read(self._catalogue).get(key_of(name), [])
        for choice in [wanted] if wanted else [_PREFERRED, *(entry["quantization"].upper() for entry in entries[:1])]:
            for entry in entries:
                if entry["quantization"].upper() == choice:
                    return entry
        return None

    def _target(self, entry: Document) -> Path:
        folder = self.models / str(entry["folder"])
        return folder / f"{folder.name}-{entry['quantization']}.gguf"

    def has(self, entry: Document) -> bool:
        return self._target(entry).exists()

    def download(self, name: str, entry: Document) -> None:
        """Put the whole file into its folder, at once."""
        target = self._target(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(self._blobs.get(entry["digest"]))
        os.replace(part, target)
        write_json(self._keys, {**self._read(self._keys), entry["folder"]: key_of(name)})

    def listed(self) -> list[Model]:
        keys, folders = self._read(self._keys), {path.parent for path in self.models.glob("*/*/*.gguf")}
        models = []
        for folder in sorted(folders):
            place = folder.relative_to(self.models).as_posix()
            key = keys.get(place, place.lower())
            files = tuple(File(path, _quantization(path)) for path in sorted(folder.glob("*.gguf")))
            models.append(Model(key, key.partition("/")[0], files))
        return models

    def find(self, name: str) -> Model | None:
        wanted = key_of(name)
        return next((model for model in self.listed() if model.key == wanted), None)

    def start_daemon(self) -> None:
        """Leave the mark of a command that would have started it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.marker.touch()

    def say_server(self, port: int | None) -> None:
        """Note that a server of this process listens, or that it does no longer."""
        before = self._read(self._server)
        running = port is not None
        write_json(self._server, {"running": running, "port": port or before.get("port"), "pid": os.getpid()})

    def server(self) -> Document:
        """What was noted; a server whose process is gone does not run."""
        noted = self._read(self._server)
        running = bool(noted.get("running")) and Path(f"/proc/{noted['pid']}").exists()
        return {**noted, "running": running}

    @staticmethod
    def _read(path: Path) -> Document:
        document: Document = json.loads(path.read_text()) if path.exists() else {}
        return document


def _quantization(path: Path) -> str:
    found = _QUANTIZATION.search(path.name)
    return found[0].upper() if found else ""
