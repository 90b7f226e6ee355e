# SPDX-License-Identifier: GPL-3.0-or-later
"""The pulling of the Ollama stand-in: manifest, layers by redirect, part files, and the checks that come too late.

A blob that is there is trusted unread. What was fetched is looked at only after all layers are there, so a layer
spoilt on the way stays under its final name when the link is lost before the last one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ollama_models import Progress, RefusedError
from ollama_store import MANIFEST, Manifest, Name, Store, file_digest

_BLOCK = 1 << 16
_TRIES = 6


@dataclass
class Waits:
    """Seconds. `retry` is the first of the doubling waits, `tick` the time between progress lines."""

    retry: float = 1.0
    tick: float = 0.06
    network: float = 30.0


class LinkLostError(Exception):
    """An error of the network in Go's words."""


def _go_words(error: Exception, place: str) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {place}: connect: connection refused"
    if isinstance(error, TimeoutError):
        return f"dial tcp {place}: i/o timeout"
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION" in str(error):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(error, OSError) and not isinstance(error, (ConnectionError, ssl.SSLError)):
        return f"dial tcp: lookup {place.partition(':')[0]}: no such host"
    return "EOF"


@contextlib.contextmanager
def _request(
    method: str, url: str, waits: Waits, headers: dict[str, str] | None = None
) -> t.Iterator[http.client.HTTPResponse]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=waits.network)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        try:
            connection.request(method, target, headers=headers or {})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise LinkLostError(f'{method.capitalize()} "{url}": {_go_words(error, parts.netloc)}') from error
        yield response
    finally:
        connection.close()


class Download:
    """One blob on its way. Pulls of the same blob share it; it ends when the last of them has gone."""

    def __init__(self, url: str, path: Path, waits: Waits) -> None:
        self.url, self.path, self.waits = url, path, waits
        self.total = self.completed = self.waiting = 0
        self.error: Exception | None = None
        self.done = threading.Event()
        self.cancelled = threading.Event()
        self._partial = path.with_name(f"{path.name}-partial")
        self._part = path.with_name(f"{path.name}-partial-0")

    def start(self) -> Download:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self) -> None:
        try:
            self._fetch()
        except (LinkLostError, RefusedError, OSError) as error:
            self.error = RefusedError(str(error))
        finally:
            self.done.set()

    def _fetch(self) -> None:
        self._prepare()
        location = self._location()
        last = ""
        for attempt in range(_TRIES):
            try:
                self._chunk(location)
                break
            except LinkLostError as error:
                last = str(error)
                self.cancelled.wait(self.waits.retry * 2**attempt)
            if self.cancelled.is_set():
                raise RefusedError("context canceled")
        else:
            raise RefusedError(f"max retries exceeded: {last}")
        self._part.unlink(missing_ok=True)
        self._partial.replace(self.path)

    def _prepare(self) -> None:
        """Go on with the part that is there, or begin one."""
        if self._part.exists() and self._partial.exists():
            part = json.loads(self._part.read_bytes())
            self.total, self.completed = part["Size"], part["Completed"]
            return
        with _request("HEAD", self.url, self.waits) as response:
            if response.status >= 400:
                raise RefusedError("file does not exist" if response.status == 404 else f"{response.status}: ")
            self.total = int(response.headers.get("Content-Length") or 0)
        with self._partial.open("wb") as file:
            file.truncate(self.total)
        self._note()

    def _note(self) -> None:
        part = {"N": 0, "Offset": 0, "Size": self.total, "Completed": self.completed}
        self._part.write_text(json.dumps(part, separators=(",", ":")) + "\n")

    def _location(self) -> str:
        """Where the bytes are: the redirect must lead to another host name."""
        url = self.url
        for _ in range(10):
            with _request("GET", url, self.waits) as response:
                location = urljoin(url, response.headers.get("Location") or "")
                if response.status == 307 and urlsplit(location).hostname != urlsplit(self.url).hostname:
                    return location
                if response.status not in (301, 302, 307, 308):
                    text = "http: no Location header in response"
                    raise RefusedError(text if response.status == 200 else f"unexpected status code {response.status}")
                url = location
        raise RefusedError("maximum redirects exceeded (10) for directURL")

    def _chunk(self, location: str) -> None:
        headers = {"Range": f"bytes={self.completed}-{self.total - 1}"}
        try:
            with _request("GET", location, self.waits, headers) as response, self._partial.open("r+b") as file:
                if response.status not in (200, 206):
                    raise LinkLostError(f"unexpected status code {response.status}")
                file.seek(self.completed)
                while self.completed < self.total and not self.cancelled.is_set():
                    block = response.read1(min(_BLOCK, self.total - self.completed))
                    if not block:
                        raise LinkLostError("unexpected EOF")
                    file.write(block)
                    self.completed += len(block)
        except (OSError, http.client.HTTPException) as error:
            raise LinkLostError("unexpected EOF") from error
        finally:
            # What a kill interrupts is therefore fetched anew from its first byte.
            self._note()
        if self.cancelled.is_set():
            raise RefusedError("context canceled")


class Puller:
    def __init__(self, store: Store, waits: Waits) -> None:
        self.store, self.waits = store, waits
        self._downloads: dict[str, Download] = {}
        self._lock = threading.Lock()

    def pull(self, name: Name, insecure: bool, tell: Progress) -> Manifest:
        existing = self.store.find(name)
        scheme = "http" if insecure else "https"
        base = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}"
        tell({"status": "pulling manifest"})
        raw = self._manifest(f"{base}/manifests/{name.tag}")
        pulled = Manifest(name, raw, 0, 0)
        fetched = [layer["digest"] for layer in pulled.every_layer if not self._layer(base, layer["digest"], tell)]
        tell({"status": "verifying sha256 digest"})
        for digest in fetched:
            self._verify(digest)
        tell({"status": "writing manifest"})
        self.store.write(name, raw)
        unused = existing.digests - pulled.digests if existing else set()
        if unused:
            tell({"status": "removing unused layers"})
            self.store.remove_unused(unused)
        tell({"status": "success"})
        return self.store.find(name) or pulled

    def _verify(self, digest: str) -> None:
        path = self.store.blob(digest)
        got = file_digest(path)
        if got != digest:
            path.unlink()
            raise RefusedError(f"digest mismatch, file must be downloaded again: want {digest}, got {got}")

    def _manifest(self, url: str) -> bytes:
        try:
            return self._manifest_bytes(url)
        except (LinkLostError, RefusedError) as error:
            raise RefusedError(f"pull model manifest: {error}") from None

    def _manifest_bytes(self, url: str) -> bytes:
        headers = {"Accept": MANIFEST}
        for attempt in range(2):
            with _request("GET", url, self.waits, headers) as response:
                body = response.read()
                if response.status == 404:
                    raise RefusedError("file does not exist")
                if response.status == 401 and attempt == 0:
                    headers["Authorization"] = f"Bearer {self._token(response.headers.get('WWW-Authenticate') or '')}"
                    continue
                if response.status == 401:
                    raise RefusedError("unauthorized: access denied")
                if response.status >= 400:
                    raise RefusedError(f"{response.status}: {body.decode(errors='replace')}")
            if not body.lstrip().startswith(b"{"):
                raise RefusedError("invalid character looking for beginning of value")
            return body
        raise RefusedError("unauthorized: access denied")

    def _token(self, challenge: str) -> str:
        words = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in words:
            raise RefusedError("unauthorized: access denied")
        url = f"{words['realm']}?service={words.get('service', '')}&scope={words.get('scope', '')}"
        with _request("GET", url, self.waits) as response:
            body = response.read().decode(errors="replace")
            if response.status >= 400:
                raise RefusedError(f"{response.status}: {body}" if body else str(response.status))
            return str(json.loads(body).get("token", ""))

    def _layer(self, base: str, digest: str, tell: Progress) -> bool:
        """Have the layer on the disk; true when it was there before."""
        status = {"status": f"pulling {digest[7:19]}", "digest": digest}
        path = self.store.blob(digest)
        if path.exists():
            size = path.stat().st_size
            tell({**status, "total": size, "completed": size})
            return True
        download = self._join(base, digest)
        try:
            while not download.done.wait(self.waits.tick):
                completed = {"completed": download.completed} if download.completed else {}
                if download.total:
                    tell({**status, "total": download.total, **completed})
        finally:
            self._leave(digest, download)
        if download.error:
            raise download.error
        return False

    def _join(self, base: str, digest: str) -> Download:
        with self._lock:
            download = self._downloads.get(digest)
            if download is None or download.cancelled.is_set() or download.done.is_set():
                download = Download(f"{base}/blobs/{digest}", self.store.blob(digest), self.waits).start()
                self._downloads[digest] = download
            download.waiting += 1
            return download

    def _leave(self, digest: str, download: Download) -> None:
        with self._lock:
            download.waiting -= 1
            if download.waiting:
                return
            download.cancelled.set()
            if self._downloads.get(digest) is download:
                del self._downloads[digest]
        download.done.wait(self.waits.network)
