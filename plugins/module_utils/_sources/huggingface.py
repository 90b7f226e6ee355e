# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of a Hugging Face hub or a mirror of it."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from .._api import http_client as http
from .._api.bandwidth import Bandwidth
from .._api.huggingface import endpoint_or_default, file_url, hub_download, model_info
from .._api.local_file import LocalFile
from .._api.remote_file import RemoteFile
from .._core.capabilities import Render
from .._core.digest import Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, SourceOptions, Workspace
from .._core.reference import ModelReference, check_name, model_of
from .._core.request import ModelRequest
from .hub_description import described_by_hub
from .owned import StoreOwned
from .side_by_side import side_by_side


class HuggingFace(StoreOwned):
    """One metadata request for a revision that can move, none for a commit that the manifest knows."""

    name = "huggingface"
    own_options: t.ClassVar[tuple[str, ...]] = ("transfer",)

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._endpoint = endpoint_or_default(options.endpoint)

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        place = f"Model {params.get('name')} (huggingface)"
        model = model_of(params, place, "Qwen/Qwen2.5-7B-Instruct-GGUF")
        revision = check_name(params.get("revision") or "main", f"{place}: revision")
        return ModelReference("huggingface", model, revision)

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        reference = request.reference
        if record and request.answered_by(record) and reference.pinned and record.revision == reference.revision:
            return record.resolved
        found = model_info(
            self._endpoint,
            reference.model,
            reference.revision,
            token=self._options.token,
            timeout=self._options.timeout,
        )
        files = tuple(entry for entry in found.files if request.wants(entry.path))
        if not files:
            asked = f"quantization '{request.quantization}'" if request.quantization else "include and exclude"
            raise LlmError(
                "not_found",
                f"none of the repository's {len(found.files)} files matches {asked} (include {list(request.include)}, "
                f"exclude {list(request.exclude)}).",
                remedy="Correct the choice; details lists the repository's files.",
                files=[entry.path for entry in found.files][:50],
            )
        return Resolved(found.commit, files, candidates=self._cached(reference.model, files))

    def _cached(self, model: str, files: t.Sequence[FileEntry]) -> dict[Digest, str]:
        """Files of the hub's own cache on this host: they lie there under the hash that names them."""
        found: dict[Digest, str] = {}
        for cache in self._options.hub_caches or _usual_caches():
            blobs = Path(cache) / f"models--{model.replace('/', '--')}" / "blobs"
            for entry in files if blobs.is_dir() else ():
                path = blobs / entry.digest.value
                if entry.digest not in found and path.is_file() and path.stat().st_size == entry.size:
                    found[entry.digest] = str(path.resolve())
        return found

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        if request.details.get("transfer") == "xet":
            self._through_the_hubs_client(request, resolved, missing, workspace)
            return Fetched(resolved)
        headers = {"Authorization": f"Bearer {self._options.token}"} if self._options.token else {}
        workers = self._options.workers
        bandwidth = Bandwidth(self._options.max_bytes_per_second)
        with http.session(connections=workers) as client:

            def receive(entry: FileEntry) -> None:
                origin = RemoteFile(
                    client,
                    file_url(self._endpoint, request.reference.model, resolved.revision, entry.path),
                    size=entry.size,
                    headers=headers,
                    timeout=self._options.timeout,
                    # Few files share the workers; many files have one each.
                    connections=max(1, workers // len(missing)),
                    bandwidth=bandwidth,
                )
                workspace.receive(entry, origin)

            side_by_side(receive, missing, workers, workspace.give_up)
        return Fetched(resolved)

    def _through_the_hubs_client(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> None:
        """Deduplicated transfer, which only the hub's client speaks; its files are proven as all others are."""

        scratch = workspace.scratch(resolved.revision)
        for entry in missing:
            path = hub_download(
                self._endpoint,
                request.reference.model,
                resolved.revision,
                entry.path,
                scratch,
                token=self._options.token,
            )
            workspace.receive(entry, LocalFile(path))
            path.unlink()
        shutil.rmtree(scratch, ignore_errors=True)

    def describe(self, request: ModelRequest, render: Render) -> t.Mapping[str, t.Any]:
        return described_by_hub(request.reference.model, request.reference.revision, self._options, render)


def _usual_caches() -> tuple[str, ...]:
    """Where the hub's client keeps its cache (huggingface_hub constants.py)."""
    if os.environ.get("HF_HUB_CACHE"):
        return (os.environ["HF_HUB_CACHE"],)
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    return (f"{home}/hub",)
