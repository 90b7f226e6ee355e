# SPDX-License-Identifier: GPL-3.0-or-later
"""One file at an address, with mirrors; what it must hash to is given, or found beside it."""

from __future__ import annotations

import base64
import threading
import typing as t
from urllib.parse import unquote, urlsplit

from .._api import http_client as http
from .._api.bandwidth import Bandwidth
from .._api.remote_file import RemoteFile
from .._core.checksum import from_headers, from_list, is_sha256
from .._core.digest import SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, Origin, SourceOptions, Workspace
from .._core.reference import ModelReference
from .._core.request import ModelRequest
from .owned import StoreOwned

# Largest list of checksums that is read.
_LIST_LIMIT = 4 << 20


class Url(StoreOwned):
    """The revision is the file's hash. With `sha256` given, a run with nothing to do asks nobody."""

    name = "url"
    own_options: t.ClassVar[tuple[str, ...]] = ("url", "mirrors", "checksum_url")

    def __init__(self, options: SourceOptions) -> None:
        self._options = options

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        place = f"Model {params.get('name')} (url)"
        if not params.get("url"):
            raise LlmError("invalid_input", f"{place}: url is missing.", remedy="Give the address of the file as url.")
        for url in (params["url"], *(params.get("mirrors") or ())):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or not _file_name(url):
                raise LlmError(
                    "invalid_input",
                    f"{place}: '{http.shown(url)}' is not the http or https address of a file.",
                    remedy="Give the whole address, as in https://models.example.com/tuned.gguf.",
                )
        sha256 = params.get("sha256") or ""
        if sha256 and not is_sha256(sha256):
            raise LlmError("invalid_input", f"{place}: sha256 '{sha256[:80]}' is not 64 hexadecimal digits.")
        # Credentials and signatures of the address are no part of the model's name.
        return ModelReference("url", http.shown(params["url"]), "")

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        if record and request.answered_by(record) and request.sha256 and record.sha256 == request.sha256:
            return record.resolved
        with http.session() as client:
            said: list[LlmError] = []
            for url in self._addresses(request):
                try:
                    size, headers = self._head(client, request, url)
                    sha256 = request.sha256 or self._published(client, request, url, headers)
                except LlmError as failure:
                    said.append(failure)
                    continue
                entry = FileEntry(_file_name(url), size, Digest(SHA256, sha256))
                return Resolved(sha256, (entry,))
        raise said[0]

    def _addresses(self, request: ModelRequest) -> tuple[str, ...]:
        return (request.details["url"], *request.details.get("mirrors", ()))

    def _head(self, client: t.Any, request: ModelRequest, url: str) -> tuple[int, t.Mapping[str, str]]:
        """Size in bytes and headers. A server that answers no HEAD is asked for the first byte."""
        for method, more in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
            answer = self._ask(client, request, method, url, more)
            total = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length")
            if answer.status_code in (200, 206) and str(total).isdigit():
                return int(str(total)), answer.headers
            if method == "GET" and answer.status_code not in (200, 206):
                raise http.refused(answer.status_code, http.shown(url), answer.headers)
        raise LlmError(
            "unsupported",
            f"{http.shown(url)} does not say how large the file is.",
            remedy="Use a server that sends Content-Length.",
        )

    def _ask(self, client: t.Any, request: ModelRequest, method: str, url: str, more: t.Mapping[str, str]) -> t.Any:
        headers = {"Accept-Encoding": "identity", **self._credentials(request, url), **more}
        try:
            with client.request(
                method, url, headers=headers, timeout=self._options.timeout, stream=True, allow_redirects=True
            ) as answer:
                if method == "GET" and not more:
                    answer.text_read = answer.raw.read(_LIST_LIMIT, decode_content=True)
                return answer
        except http.failures() as failure:
            raise http.explain(failure, http.shown(url)) or LlmError(
                "unreachable", f"{http.shown(url)} could not be reached: {http.words(failure)}."
            ) from None

    def _published(self, client: t.Any, request: ModelRequest, url: str, headers: t.Mapping[str, str]) -> str:
        """The file's sha256 from the list that was named, the server's own word, or a file beside it."""
        named = request.details.get("checksum_url")
        found = None if named else from_headers(headers)
        places = [named] if named else [f"{url.partition('?')[0]}.sha256"]
        for place in places if not found else ():
            answer = self._ask(client, request, "GET", place, {})
            if answer.status_code == 200:
                found = from_list(answer.text_read.decode("utf-8", "replace"), _file_name(url))
        if not found:
            raise LlmError(
                "checksum_missing",
                f"{http.shown(url)}: neither its server nor {http.shown(places[0])} says what it hashes to.",
            )
        return found

    def _credentials(self, request: ModelRequest, url: str) -> dict[str, str]:
        """For the first address's own server only, in the same scheme; a mirror elsewhere is asked without."""
        options = self._options
        if _place(url) != _place(request.details["url"]):
            return {}
        if options.token:
            return {"Authorization": f"Bearer {options.token}"}
        if options.username:
            pair = base64.b64encode(f"{options.username}:{options.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        bandwidth = Bandwidth(self._options.max_bytes_per_second)
        with http.session(connections=self._options.workers) as client:
            for entry in missing:
                origins = [
                    RemoteFile(
                        client,
                        url,
                        size=entry.size,
                        headers=self._credentials(request, url),
                        timeout=self._options.timeout,
                        connections=self._options.workers,
                        bandwidth=bandwidth,
                    )
                    for url in self._addresses(request)
                ]
                workspace.receive(entry, _Mirrors(origins))
        return Fetched(resolved)


class _Mirrors:
    """Several addresses of one file: the next one goes on where one gave up."""

    def __init__(self, origins: t.Sequence[RemoteFile]) -> None:
        self._origins: list[Origin] = list(origins)
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        return self._origins[0].connections

    def read(self, start: int, stop: int) -> t.Iterator[bytes]:
        for origin in tuple(self._origins):
            try:
                for block in origin.read(start, stop):
                    start += len(block)
                    yield block
                return
            except LlmError:
                if not self._leave(origin):
                    raise

    def doubt(self) -> None:
        self._leave(self._origins[0])

    def _leave(self, origin: Origin) -> bool:
        """Go on without an address; False if it is the last one. Several connections say so at once."""
        with self._lock:
            if origin in self._origins and len(self._origins) > 1:
                self._origins.remove(origin)
            return origin not in self._origins


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path).rsplit("/", 1)[-1]
