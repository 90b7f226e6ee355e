# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that Docker Model Runner keeps: present by the digest of their manifest."""

from __future__ import annotations

import typing as t

from .._api.address import shown_address
from .._api.docker_model_runner import DmrLine, DmrModel, DockerModelRunnerApi, normal_reference, spelled_reference
from .._core.capabilities import Render, from_gguf
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, HeldModel, SourceOptions, Workspace
from .._core.reference import ModelReference, check_name
from .._core.request import ModelRequest
from .exclusive import exclusive_at
from .hub_description import described_for_program
from .layers import Layers

DEFAULT_ADDRESS = "http://127.0.0.1:12434"
_FROM_A_HUB = "huggingface.co/"


class DockerModelRunner:
    """One runner at `endpoint`, a port or a socket. It proves each layer itself while it pulls."""

    name = "docker_model_runner"
    keeps_own_bytes = True
    own_options: t.ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._address = options.endpoint or DEFAULT_ADDRESS

    @property
    def exclusive(self) -> str:
        return exclusive_at("docker-model-runner", self._address)

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        model = check_name(params.get("model") or "", f"Model {params.get('name')} (docker_model_runner): model")
        return ModelReference("docker_model_runner", spelled_reference(model), "")

    def _client(self) -> DockerModelRunnerApi:
        client = DockerModelRunnerApi(self._address, timeout=self._options.timeout)
        if not client.is_there():
            raise LlmError(
                "unreachable",
                f"{client.place} could not be reached: it does not answer there.",
                remedy="Start it; with Docker Desktop: docker desktop enable model-runner --tcp 12434.",
            )
        return client

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        del record
        client, name = self._client(), request.reference.model
        held = client.find(name)
        if held and not request.refresh:
            return self._resolved(held, held=True, verify=request.verify)
        if name.startswith(_FROM_A_HUB):
            if held:
                raise LlmError(
                    "unsupported",
                    f"{client.place} never looks up {name} again once it is there.",
                    remedy="Remove the model and pull it again, or leave refresh out.",
                )
            return Resolved("", (), {"endpoint": shown_address(self._address)})
        offered = client.remote(name)
        if held and held.id == offered.id:
            return self._resolved(held, held=True, verify=request.verify)
        return self._resolved(offered, held=False)

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        del missing
        client, name = self._client(), request.reference.model
        notes = []
        layers = Layers(workspace)

        def told(line: DmrLine) -> None:
            layers.came(line.layer, line.completed, line.layer_size, line.total)

        if not resolved.held:
            if self._unload(client, name):
                notes.append("it was loaded, and was unloaded so that no request gets the old weights.")
            client.create(name, token=self._options.token, progress=told)
        model = client.find(name)
        if model is None:
            raise LlmError("hub_error", f"{client.place} said success and does not list {name}.")
        found = model

        def capabilities(render: Render) -> t.Mapping[str, t.Any]:
            return _capabilities(found, render)

        return Fetched(self._resolved(model, held=True), tuple(notes), capabilities)

    def remove(self, record: InstalledModel) -> None:
        client = self._client()
        # Deleted while it is loaded it would stay in memory.
        self._unload(client, record.model)
        client.delete(record.model, force=False)

    def _unload(self, client: DockerModelRunnerApi, name: str) -> bool:
        held = client.find(name)
        loaded = [entry.model for entry in client.running() if _is_of(entry.model, name, held)]
        return bool(loaded) and client.unload([*([held.id] if held else []), name, *loaded]) > 0

    def _resolved(self, model: DmrModel, *, held: bool, verify: str = "") -> Resolved:
        unread = "its layers were proven when they were pulled; the runner gives no way to read them again."
        return Resolved(
            model.id,
            (),
            {"endpoint": shown_address(self._address)},
            held=held,
            declared_size=model.size or None,
            identity=model.id.partition(":")[2],
            notes=(unread,) if verify == "always" else (),
        )

    def inventory(self) -> list[HeldModel]:
        client = self._client()
        loaded = [entry.model for entry in client.running()]
        return [
            HeldModel(
                normal_reference(model.tags[0]) if model.tags else model.id,
                model.id,
                model.size,
                {key: value for key, value in model.config.items() if key != "gguf"},
                any(_is_of(entry, tag, model) for entry in loaded for tag in (*model.tags, model.id)),
            )
            for model in client.models()
        ]

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        """From the runner where it has the model, else from the registry or hub that the name is of."""
        name = request.reference.model
        on_hub = name.startswith(_FROM_A_HUB)
        try:
            client = self._client()
            model = client.find(name)
            if model or not on_hub:
                return _capabilities(model or client.remote(name), render)
        except LlmError:
            if not on_hub:
                raise
        repository, _colon, tag = name[len(_FROM_A_HUB) :].partition(":")
        return described_for_program(repository, tag, self._options, render)


def _is_of(loaded: str, name: str, held: DmrModel | None) -> bool:
    """Whether what is in memory may be of that name: it is told as it was asked for, by any of its names or its id.

    A name can be told without its tag, and would then mean the tag latest.
    """
    if held and held.is_called(loaded):
        return True
    return not loaded.startswith("sha256:") and _repository(loaded) == _repository(name)


def _repository(name: str) -> str:
    return normal_reference(name).rpartition(":")[0]


def _capabilities(model: DmrModel, render: Render) -> dict[str, t.Any]:
    """From the GGUF header, which the runner keeps as text, and from what it says itself."""
    gguf = model.config.get("gguf")
    header = {key: _number(value) for key, value in gguf.items()} if isinstance(gguf, dict) else {}
    read = dict(from_gguf(header, render))
    context = model.config.get("context_size")
    if read.get("max_context_length") is None and isinstance(context, int):
        read["max_context_length"] = context
    if read.get("quantization") is None and model.config.get("quantization"):
        read["quantization"] = str(model.config["quantization"])
    return read


def _number(value: t.Any) -> t.Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value
