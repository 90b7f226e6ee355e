# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that an Ollama server keeps: present by digest, never by the words of a pull."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace
from pathlib import Path

from .._api.address import shown_address
from .._api.local_file import sha256_of
from .._api.ollama import OllamaApi, PullLine, Tag, full_name, is_kept_name, normal_name, same_name
from .._api.ollama_command import OllamaCommand
from .._api.ollama_description import ollama_description
from .._api.ollama_registry import Blob, RegistryManifest, blob_path, manifest_path, ollama_manifest, parse_manifest
from .._core.capabilities import Render, from_ollama_show
from .._core.digest import SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, HeldModel, SourceOptions, Workspace
from .._core.reference import ModelReference, check_name
from .._core.request import ModelRequest
from .exclusive import exclusive_at
from .hub_description import HUB_HOSTS, described_for_program
from .layers import Layers
from .ollama_create import Creation

DEFAULT_ADDRESS = "http://127.0.0.1:11434"
# Where its models lie: the unit's user, a distribution's package, a user's own (scripts/install.sh, envconfig).
_USUAL_FOLDERS = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "~/.ollama/models")


class Ollama:
    """One server at `endpoint`. Where only its command answers, the command is used."""

    name = "ollama"
    keeps_own_bytes = True
    own_options: t.ClassVar[tuple[str, ...]] = ("insecure", "create", "models_path", "executable")

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._client: OllamaApi | OllamaCommand | None = None

    @property
    def _address(self) -> str:
        said = self._options.endpoint or os.environ.get("OLLAMA_HOST") or DEFAULT_ADDRESS
        if "://" in said:
            return said
        # As Ollama reads it: without a scheme the port is its own, with one the scheme's (envconfig/config.go).
        host, colon, port = said.rpartition(":")
        return f"http://{host or '127.0.0.1'}:{port}" if colon else f"http://{said}:11434"

    @property
    def exclusive(self) -> str:
        return exclusive_at("ollama", self._address)

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        place = f"Model {params.get('name')} (ollama): model"
        model = check_name(params.get("model") or "", place)
        if not full_name(model).model:
            raise LlmError("invalid_name", f"{place} '{model}' names no model.")
        name = normal_name(model)
        if "/" not in name:
            # Ollama's own models are in lower case, whatever case they are asked for in; tags are not.
            own, colon, tag = name.partition(":")
            name = f"{own.lower()}{colon}{tag}"
        return ModelReference("ollama", name, "")

    # --- looking ---

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        client = self._connected(request.details.get("executable", ""))
        name = request.reference.model
        tag = _find(client.tags(), name)
        creation = self._creation(request)
        if creation:
            made = creation.resolve(tag, record, client.tags())
            wrong = self._wrong(request, made.files) if made.held and request.verify == "always" else ()
            return replace(made, damaged=wrong)
        local = self._local(request, tag)
        origin = self._origin(request, record, tag)
        if tag and not request.refresh:
            return self._held(request, tag, local, origin, record)
        try:
            offered = ollama_manifest(
                name, insecure=bool(request.details.get("insecure")), timeout=self._options.timeout
            )
        except LlmError as failure:
            if tag or failure.reason not in ("unreachable", "auth_error", "tls_failed"):
                raise
            # The server may reach what this account cannot: by its proxy, or with its own key.
            return Resolved("", (), origin)
        if tag and local and local.contents == offered.contents:
            return self._held(request, tag, local, origin, record)
        if tag and tag.digest and offered.digest.startswith(tag.digest):
            return self._held(request, replace(tag, digest=offered.digest), local, origin, record)
        files = _entries(offered)
        here = frozenset(entry.digest for entry in files for models in self._folders(request) if _lies(models, entry))
        return Resolved(offered.digest, files, origin, here=here, identity=offered.digest)

    def _held(
        self,
        request: ModelRequest,
        tag: Tag,
        local: RegistryManifest | None,
        origin: dict[str, t.Any],
        record: InstalledModel | None,
    ) -> Resolved:
        files = _entries(local) if local else ()
        damaged: tuple[str, ...] = ()
        if request.verify == "always" and local:
            damaged = self._wrong(request, files)
        digest = _whole(tag, local, record.revision if record else "")
        unread = request.verify == "always" and not local
        notes = ("its folder cannot be read from here: its bytes were not hashed.",) if unread else ()
        return Resolved(
            digest,
            files,
            origin,
            held=True,
            declared_size=tag.size,
            damaged=damaged,
            identity=digest,
            notes=notes,
        )

    def _connected(self, executable: str) -> OllamaApi | OllamaCommand:
        if self._client is None:
            api = OllamaApi(self._address, token=self._options.token, timeout=self._options.timeout)
            try:
                version = api.version()
            except LlmError as failure:
                command = OllamaCommand(executable or "ollama", address="" if executable else self._address)
                if failure.reason != "unreachable" or not _answers(command):
                    raise
                self._client = command
                return command
            if version is None:
                # Nor is its command of use: it would talk to the same imitation.
                raise LlmError(
                    "unreachable",
                    f"{api.place}: what answers there is not Ollama.",
                    remedy="Correct endpoint; Docker Model Runner imitates Ollama's paths.",
                )
            self._client = api
        return self._client

    def _folders(self, request: ModelRequest) -> tuple[Path, ...]:
        named = request.details.get("models_path") or os.environ.get("OLLAMA_MODELS")
        return tuple(Path(folder).expanduser() for folder in ([named] if named else _USUAL_FOLDERS))

    def _local(self, request: ModelRequest, tag: Tag | None) -> RegistryManifest | None:
        """The manifest on this host's disk, if it is the very one that the server means."""
        for models in self._folders(request) if tag else ():
            try:
                manifest = parse_manifest(manifest_path(models, request.reference.model).read_bytes())
            except (OSError, LlmError):
                continue
            if tag and manifest.digest.startswith(tag.digest):
                return manifest
        return None

    def _wrong(self, request: ModelRequest, files: t.Sequence[FileEntry]) -> tuple[str, ...]:
        """The blobs that are gone, or do not hash to their names: a file's name is the only thing that proves it."""
        wrong = []
        for entry in files:
            paths = [blob_path(models, f"sha256:{entry.digest.value}") for models in self._folders(request)]
            path = next((path for path in paths if path.is_file()), None)
            if path is None or sha256_of(path) != entry.digest.value:
                wrong.append(entry.path)
        return tuple(wrong)

    def _origin(self, request: ModelRequest, record: InstalledModel | None, tag: Tag | None) -> dict[str, t.Any]:
        origin: dict[str, t.Any] = {"endpoint": shown_address(self._address)}
        if request.details.get("executable"):
            origin["executable"] = request.details["executable"]
        # What was proven once holds for the very model that is there, not for one that was lost and comes again.
        if record and tag and record.origin.get("proven") and record.revision.startswith(tag.digest):
            origin["proven"] = list(record.origin["proven"])
        return origin

    def _creation(self, request: ModelRequest) -> Creation | None:
        asked = request.details.get("create")
        return Creation(request, asked, self._origin(request, None, None)) if asked else None

    # --- changing ---

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        del missing
        client = self._connected(request.details.get("executable", ""))
        name = request.reference.model
        notes: list[str] = []
        creation = self._creation(request)
        origin = dict(resolved.origin)
        if not resolved.held or resolved.damaged:
            if _find(client.tags(), name) and client.unload(name):
                notes.append("it was loaded, and was unloaded so that no request gets the old weights.")
            if creation:
                self._make(client, request, resolved, creation, notes)
                origin["made_of"] = creation.made_of(client.tags(), origin["made_of"])
            else:
                origin["proven"] = self._pull(client, request, resolved, notes, workspace)
        tag = _find(client.tags(), name)
        if tag is None:
            raise LlmError("hub_error", f"{client.place} said success and does not list {name}.")
        local = self._local(request, tag)
        show = client.show(name) or {}

        def capabilities(render: Render) -> t.Mapping[str, t.Any]:
            return from_ollama_show(show, render)

        digest = _whole(tag, local, resolved.revision)
        files = _entries(local) if local else ()
        found = Resolved(digest, files, origin, held=True, declared_size=tag.size, identity=digest)
        return Fetched(found, tuple(notes), capabilities)

    def _pull(
        self,
        client: OllamaApi | OllamaCommand,
        request: ModelRequest,
        resolved: Resolved,
        notes: list[str],
        workspace: Workspace,
    ) -> list[str]:
        """Pull, and prove what the pull may have written; the digests that are proven now."""
        layers = Layers(workspace)

        def told(line: PullLine) -> None:
            layers.came(line.digest, line.completed, line.total)

        name = request.reference.model
        insecure = bool(request.details.get("insecure"))
        if resolved.damaged:
            # What cannot be had again is not deleted: damaged is better than gone.
            ollama_manifest(name, insecure=insecure, timeout=self._options.timeout)
            notes.append(_mended(resolved.damaged))
            _forget(client, name)
        client.pull(name, insecure=insecure, progress=told)
        known = set(resolved.origin.get("proven", ())) if not resolved.damaged else set()
        if request.verify == "never":
            return sorted(known)
        for attempt in (1, 2):
            local = self._local(request, _find(client.tags(), name))
            files = _entries(local) if local else ()
            unproven = [entry for entry in files if entry.digest.value not in known or request.verify == "always"]
            wrong = self._wrong(request, unproven)
            if not wrong:
                if not local:
                    notes.append("its folder cannot be read from here: its bytes were not hashed.")
                return sorted(entry.digest.value for entry in files)
            if attempt == 2:
                break
            # A layer that is there is trusted unread by the next pull: only deleting brings it anew.
            notes.append(_mended(wrong))
            _forget(client, name)
            client.pull(name, insecure=insecure, progress=told)
        raise _kept(client, name, wrong)

    def _make(
        self,
        client: OllamaApi | OllamaCommand,
        request: ModelRequest,
        resolved: Resolved,
        creation: Creation,
        notes: list[str],
    ) -> None:
        name = request.reference.model
        if resolved.damaged:
            notes.append(_mended(resolved.damaged, "made"))
            _forget(client, name)
        creation.make(client, name)
        if resolved.damaged:
            local = self._local(request, _find(client.tags(), name))
            wrong = self._wrong(request, _entries(local)) if local else ()
            if wrong:
                raise _kept(client, name, wrong)

    def remove(self, record: InstalledModel) -> None:
        client = self._connected(str(record.origin.get("executable") or ""))
        if _find(client.tags(), record.model):
            # Deleted while it is loaded it would stay in memory, with no request that unloads it.
            client.unload(record.model)
            _forget(client, record.model)

    def inventory(self) -> list[HeldModel]:
        """Without the names that keep bytes for a rollback: nobody is to call a model by them."""
        client = self._connected("")
        loaded = [model.digest for model in client.running()]
        return [
            HeldModel(
                tag.name, tag.digest, tag.size, tag.details, any(digest.startswith(tag.digest) for digest in loaded)
            )
            for tag in client.tags()
            if not is_kept_name(tag.name)
        ]

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        """From the server where it has the model, else from the registry or hub that the name is of."""
        name = request.reference.model
        try:
            show = self._connected(request.details.get("executable", "")).show(name)
        except LlmError:
            # What a server that does not answer would have said, its registry may say as well.
            show = None
        if show is None:
            host, namespace, model, tag = full_name(name)
            if host.lower() in HUB_HOSTS:
                return described_for_program(f"{namespace}/{model}", tag, self._options, render)
            insecure = bool(request.details.get("insecure"))
            show = ollama_description(name, insecure=insecure, timeout=self._options.timeout)
        return from_ollama_show(show, render)


def _find(tags: t.Iterable[Tag], name: str) -> Tag | None:
    return next((tag for tag in tags if same_name(tag.name, name)), None)


def _forget(client: OllamaApi | OllamaCommand, name: str) -> None:
    """Delete a model with the names that keep its bytes for a rollback, under which they would stay."""
    tags = client.tags()
    own = _find(tags, name)
    for tag in tags if own else ():
        if own and tag.digest == own.digest and is_kept_name(tag.name):
            client.delete(tag.name)
    client.delete(name)


def _whole(tag: Tag, local: RegistryManifest | None, known: str) -> str:
    """The digest in full, where somebody knows it; the command prints its first 12 digits only."""
    if local:
        return local.digest
    return known if tag.digest and known.startswith(tag.digest) else tag.digest


def _answers(command: OllamaCommand) -> bool:
    try:
        return command.version() is not None
    except LlmError:
        return False


def _entries(manifest: RegistryManifest) -> tuple[FileEntry, ...]:
    blobs: dict[str, Blob] = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
    return tuple(
        FileEntry(digest.replace(":", "-"), blob.size, Digest(SHA256, digest.partition(":")[2]))
        for digest, blob in blobs.items()
    )


def _lies(models: Path, entry: FileEntry) -> bool:
    try:
        return blob_path(models, f"sha256:{entry.digest.value}").stat().st_size == entry.size
    except OSError:
        return False


def _mended(wrong: t.Sequence[str], done: str = "pulled") -> str:
    return f"{', '.join(wrong)} did not hash to its name; the model was deleted and {done} again."


def _kept(client: OllamaApi | OllamaCommand, name: str, wrong: t.Sequence[str]) -> LlmError:
    return LlmError(
        "checksum_mismatch",
        f"{client.place} keeps bytes of {name} that do not hash to their names: {wrong[0]}.",
        remedy="Another of its models has the same file and keeps it there: delete that one too, then run again.",
    )
