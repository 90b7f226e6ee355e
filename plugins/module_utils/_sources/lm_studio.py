# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that LM Studio keeps: present by key and quantization, for it tells no digest."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from .._api.address import shown_address
from .._api.lm_studio import LmModel, LmStudioApi
from .._api.lm_studio_command import paths_of
from .._core.capabilities import Render
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, HeldModel, SourceOptions, Workspace
from .._core.quantization import has_quantization
from .._core.reference import ModelReference, check_name
from .._core.request import ModelRequest
from .exclusive import exclusive_at
from .hub_description import HUB_HOSTS, described_for_program

DEFAULT_ADDRESS = "http://127.0.0.1:1234"
_HERE = ("127.0.0.1", "localhost", "::1")
_ADDRESS = re.compile(r"^https://[^/]+/")
# A model by its address on the hub.
_HUB = re.compile(rf"https://(?:{'|'.join(map(re.escape, HUB_HOSTS))})/([^/]+/[^/]+?)/?", re.IGNORECASE)
_USUAL_FOLDERS = ("~/.lmstudio/models", "~/.cache/lm-studio/models")
# A download goes on without us; a day is longer than any that is worth waiting for.
_LONGEST_DOWNLOAD = 86_400.0
# How many times the time limit of a connection a download may be paused: five minutes with the usual one.
_PAUSES = 10


class LmStudio:
    """One server at `endpoint`. Its command is asked only where its port has no answer, never while only looking."""

    name = "lm_studio"
    keeps_own_bytes = True
    own_options: t.ClassVar[tuple[str, ...]] = ("models_path", "executable")

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._address = options.endpoint or DEFAULT_ADDRESS

    @property
    def exclusive(self) -> str:
        return exclusive_at("lm-studio", self._address)

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        place = f"Model {params.get('name')} (lm_studio)"
        model = params.get("model") or ""
        if model.startswith("https://"):
            # An address on a hub: only with one does it take a quantization.
            check_name(model[len("https://") :], f"{place}: model")
        else:
            check_name(model, f"{place}: model")
            if params.get("quantization"):
                raise LlmError(
                    "unsupported",
                    f"{place}: it takes a quantization only with a model's address on Hugging Face.",
                    remedy="Give model as https://huggingface.co/organisation/name, or leave quantization out.",
                )
        return ModelReference("lm_studio", model, "")

    def _client(self) -> LmStudioApi:
        client = LmStudioApi(self._address, token=self._options.token, timeout=self._options.timeout)
        if not client.is_there():
            raise LlmError(
                "unreachable",
                f"{client.place} could not be reached: it does not answer there.",
                remedy="Start its server: lms server start.",
            )
        return client

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        del record
        if request.refresh:
            raise LlmError("unsupported", "LM Studio tells no digest, so nothing shows whether a name has moved.")
        model = _find(self._client().models(), request)
        return self._resolved(model, request) if model else Resolved("", (), {"endpoint": shown_address(self._address)})

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        del missing
        client = self._client()
        if not resolved.held:
            job = client.download(request.reference.model, request.quantization)
            if job:
                limit = self._options.timeout
                client.wait(
                    job,
                    lambda now: workspace.report(now.downloaded_bytes, now.total_size_bytes),
                    deadline=_LONGEST_DOWNLOAD,
                    paused_limit=_PAUSES * limit,
                    pause=min(2.0, limit),
                )
        model = _find(client.models(), request)
        if model is None:
            raise LlmError("hub_error", f"{client.place} finished and does not list {request.reference.model}.")
        found = model

        def capabilities(_render: Render) -> t.Mapping[str, t.Any]:
            return _capabilities(found)

        return Fetched(self._resolved(model, request), (), capabilities)

    def remove(self, record: InstalledModel) -> None:
        """By its folder: neither its port nor its command can delete."""
        client = self._client()
        key = str(record.origin.get("key") or record.model)
        model = next((found for found in client.models() if found.key == key), None)
        if model is None:
            return
        if urlsplit(self._address).hostname not in _HERE:
            raise LlmError(
                "unsupported",
                f"{client.place} is on another host: models are removed by their folder, on the host itself.",
                remedy="Run the task on that host.",
            )
        folder = self._folder(record, key, client)
        # What was brought without naming a quantization is recorded as the one that it gave.
        quantization = str(record.selection.get("quantization") or record.revision)
        several = len(model.variants) > 1
        if several and not any(variant.upper().endswith(quantization.upper()) for variant in model.variants):
            raise LlmError(
                "unsupported",
                f"{client.place} has {len(model.variants)} files of {key}, and nothing says which of them is ours.",
                remedy="Remove it in LM Studio.",
            )
        for instance in model.loaded:
            client.unload(instance)
        if several:
            # Another quantization lies beside it, and is not ours to remove.
            for file in folder.iterdir():
                if has_quantization(file.name, quantization):
                    file.unlink()
        else:
            shutil.rmtree(folder)
        if any(left.key == key and (not several or left.has(quantization)) for left in client.models()):
            raise LlmError("hub_error", f"{client.place} still lists {key} after it was removed from {folder}.")

    def _folder(self, record: InstalledModel, key: str, client: LmStudioApi) -> Path:
        named = record.origin.get("models_path")
        roots = [Path(root).expanduser() for root in ([named] if named else _USUAL_FOLDERS)]
        roots = [root for root in roots if root.is_dir()]
        # The key is the folder, but for the case of its letters, and for models that somebody put elsewhere: then its
        # command knows the path.
        places = [key, _ADDRESS.sub("", record.model), *(paths_of(key, record.origin) if roots else ())]
        for root in roots:
            for place in places:
                # Relative to the root or below it; what leads out of it, by a link or a step upwards, is no match.
                parts = Path(os.path.relpath(place, root) if Path(place).is_absolute() else place).parts[:2]
                folder = root.joinpath(*parts)
                if len(parts) == 2 and folder.is_dir() and folder.resolve() == root.resolve().joinpath(*parts):
                    return folder
        raise LlmError(
            "path_missing",
            f"{client.place}: the folder of {key} was not found in {', '.join(map(str, roots)) or 'its usual places'}.",
            remedy="Give models_path, the folder that LM Studio shows as its models directory.",
        )

    def _resolved(self, model: LmModel, request: ModelRequest) -> Resolved:
        origin = {"endpoint": shown_address(self._address), "key": model.key}
        origin.update({key: request.details[key] for key in ("models_path", "executable") if key in request.details})
        revision = request.quantization.upper() or model.quantization or "present"
        notes = ("LM Studio tells no digest: its bytes were not proven.",) if request.verify == "always" else ()
        return Resolved(revision, (), origin, held=True, declared_size=model.size or None, notes=notes)

    def inventory(self) -> list[HeldModel]:
        return [
            HeldModel(
                model.key,
                model.quantization,
                model.size,
                {"publisher": model.publisher, "format": model.format, "context_length": model.max_context_length},
                bool(model.loaded),
            )
            for model in self._client().models()
        ]

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        """From the program where it has the model, else from the hub that the model's address names."""
        name = request.reference.model
        found = _HUB.fullmatch(name)
        try:
            model = _find(self._client().models(), request)
        except LlmError:
            if not found:
                raise
            model = None
        if model:
            return _capabilities(model)
        if not found:
            raise LlmError(
                "unsupported",
                f"LM Studio does not have {name}, and tells nothing of models that it does not have.",
                remedy="Give the model's address, https://huggingface.co/organisation/name, or download it first.",
            )
        return described_for_program(found[1], request.quantization, self._options, render)


def _find(models: t.Iterable[LmModel], request: ModelRequest) -> LmModel | None:
    """The model asked for: by its key, or by the last two words of its address."""
    name = _ADDRESS.sub("", request.reference.model).lower().partition("@")[0]
    names = {name, re.sub(r"-gguf$", "", name), name.rpartition("/")[2], re.sub(r"-gguf$", "", name.rpartition("/")[2])}
    publisher = name.partition("/")[0] if "/" in name else ""
    for model in models:
        # A key that is one word alone names the model of one publisher only.
        if "/" not in model.key and publisher and model.publisher and model.publisher.lower() != publisher:
            continue
        if model.key.lower() in names and (not request.quantization or model.has(request.quantization)):
            return model
    return None


def _capabilities(model: LmModel) -> dict[str, t.Any]:
    tools = model.capabilities.get("trained_for_tool_use")
    return {
        "max_context_length": model.max_context_length or None,
        "quantization": model.quantization or None,
        "supports_function_calling": tools if isinstance(tools, bool) else None,
    }
