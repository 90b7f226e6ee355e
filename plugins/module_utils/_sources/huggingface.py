# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of a Hugging Face hub or a mirror of it."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._api import http_client as http
from .._api.huggingface import endpoint_or_default, file_url, model_info
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, ModelRequest, Resolved
from .._core.ports import Sink, SourceOptions, Workspace


class HuggingFace:
    """One metadata request for a revision that can move, none for a commit that the manifest knows."""

    name = "huggingface"

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._endpoint = endpoint_or_default(options.endpoint)

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        reference = request.reference
        if record and record.answers(request) and reference.pinned and record.revision == reference.revision:
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
            raise LlmError(
                "not_found",
                f"none of the repository's {len(found.files)} files matches include {list(request.include)} "
                f"and exclude {list(request.exclude)}.",
                remedy="Correct the patterns.",
                files=[entry.path for entry in found.files][:50],
            )
        return Resolved(found.commit, files)

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> None:
        headers = {"Authorization": f"Bearer {self._options.token}"} if self._options.token else {}
        with http.session(connections=self._options.workers) as client:

            def receive(entry: FileEntry) -> None:
                url = file_url(self._endpoint, request.reference.model, resolved.revision, entry.path)

                def pour(sink: Sink) -> None:
                    http.download(client, url, sink, size=entry.size, headers=headers, timeout=self._options.timeout)

                workspace.receive(entry, pour)

            # Large files first, so that the last worker does not start the largest at the end.
            ordered = sorted(missing, key=lambda entry: -entry.size)
            with ThreadPoolExecutor(max_workers=self._options.workers) as pool:
                jobs = [pool.submit(receive, entry) for entry in ordered]
                try:
                    for job in jobs:
                        job.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise

    def remove(self, record: InstalledModel, workspace: Workspace) -> None:
        workspace.discard(record)
