# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that Ollama makes on the host: from a GGUF file, or from another of its models."""

from __future__ import annotations

import typing as t
from pathlib import Path

from .._api.local_file import sha256_of
from .._api.ollama import OllamaApi, Tag, normal_name, same_name
from .._api.ollama_command import OllamaCommand
from .._core.digest import SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.request import ModelRequest

_KEYS = ("path", "from", "system", "template", "parameters")


class Creation:
    """What a model is made of. Creating writes a manifest every time, so what was asked last is remembered.

    A GGUF is written anew by the server (0.33), so the layer's digest is not the file's: only the record that says
    which file and settings made the digest that is there now proves that nothing has to be done.
    """

    def __init__(self, request: ModelRequest, asked: t.Mapping[str, t.Any], origin: dict[str, t.Any]) -> None:
        unknown = sorted(set(asked) - set(_KEYS))
        if unknown or bool(asked.get("path")) == bool(asked.get("from")):
            said = f"create has the unknown key '{unknown[0]}'" if unknown else "create needs either path or from"
            raise LlmError("invalid_input", f"{said}.", remedy=f"Use {', '.join(_KEYS)}, with one of the first two.")
        self._request = request
        self._asked = asked
        self._origin = origin
        self._file = Path(asked["path"]) if asked.get("path") else None
        if self._file and not self._file.is_file():
            raise LlmError("path_missing", f"create: the file {self._file} does not exist on the host.")

    def resolve(self, tag: Tag | None, record: InstalledModel | None, tags: t.Sequence[Tag]) -> Resolved:
        before: dict[str, t.Any] = record.origin.get("made_of", {}) if record else {}
        made_of = self.made_of(tags, before)
        origin = {**self._origin, "made_of": made_of}
        if tag and record and _contents(before) == _contents(made_of) and record.revision.startswith(tag.digest):
            return Resolved(
                record.revision, record.files, origin, held=True, declared_size=tag.size, identity=record.revision
            )
        if self._file is None:
            return Resolved("", (), origin, declared_size=0)
        entry = FileEntry(self._file.name, self._file.stat().st_size, Digest(SHA256, made_of["sha256"]))
        return Resolved("", (entry,), origin, here=frozenset([entry.digest]))

    def made_of(self, tags: t.Sequence[Tag], before: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """What decides the model's contents; `before` saves hashing a file that has not been written since."""
        made_of: dict[str, t.Any] = {key: self._asked[key] for key in _KEYS if self._asked.get(key)}
        if self._file:
            status = self._file.stat()
            made_of["signature"] = [status.st_size, status.st_mtime_ns, status.st_ino]
            same = before.get("signature") == made_of["signature"] and before.get("path") == made_of["path"]
            made_of["sha256"] = before["sha256"] if same and before.get("sha256") else sha256_of(self._file)
        else:
            base = next((tag for tag in tags if same_name(tag.name, self._asked["from"])), None)
            made_of["from"] = normal_name(self._asked["from"])
            made_of["base"] = base.digest if base else ""
        return made_of

    def make(self, client: OllamaApi | OllamaCommand, name: str) -> None:
        if isinstance(client, OllamaCommand):
            raise LlmError("unsupported", f"{client.place}: models are made through its port, which does not answer.")
        body: dict[str, t.Any] = {
            key: self._asked[key] for key in ("from", "system", "template", "parameters") if self._asked.get(key)
        }
        if self._file:
            digest = f"sha256:{sha256_of(self._file)}"
            if not client.has_blob(digest):
                client.upload_blob(digest, self._file)
            body["files"] = {self._file.name: digest}
        client.create(name, body, lambda _line: None)


def _contents(made_of: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Without the mark of when a file was written: the same bytes make the same model."""
    return {key: value for key, value in made_of.items() if key != "signature"}
