# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub on this machine: the Hugging Face protocol for the real client, with faults on a switchboard.

As a program it serves the folders `ROOT/<organisation>/<name>/` as repositories with one branch `main`:
    python hub.py --root ROOT --port 8090 [--host 127.0.0.1]
In tests it is a context manager: `with Hub() as hub: hub.publish("org/name", {"a.gguf": b"…"})`.

Faults are set by `hub.fault(...)` or `POST /_control/fault` with the same words as JSON; what was asked and sent is
told by `hub.requests`, `hub.sent` or `GET /_control/log`; `POST /_control/reset` forgets faults and log.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import socket
import threading
import time
import typing as t
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

# What a hub keeps in git itself; the rest is large file storage and has a sha256.
_GIT_SUFFIXES = (".json", ".md", ".txt", ".jinja")
_BLOCK = 1 << 20
_PAGE = 1000


@dataclass
class Fault:
    """One fault. `path` is a regular expression on the request's path; it is used up after `times` requests.

    `status` with `headers` answers instead; `cut` ends the connection after that many bytes of the body; `flip`
    inverts the byte at that offset of the file; `rate` slows to bytes a second; `ignore_range` answers 200 to a
    Range; `hang` seconds pass before the answer; `location` redirects content there; `length` is told instead of
    the true Content-Length; `told` (size, sha256) is said of every large file in the metadata; `text` is the body
    instead, as a web page; `gzip` compresses content that was asked for as it is. The first fault that fits a request
    is the one that happens to it.
    """

    path: str = ""
    times: int = 1_000_000
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: int | None = None
    rate: int = 0
    ignore_range: bool = False
    hang: float = 0.0
    location: str = ""
    length: int | None = None
    told: dict[str, t.Any] = field(default_factory=dict)
    text: str = ""
    gzip: bool = False
    method: str = "GET"


@dataclass(frozen=True)
class Blob:
    """One file of a commit: bytes in memory or a path on the disk."""

    data: bytes | Path
    size: int
    oid: str
    sha256: str | None

    def described(self, path: str, told: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        entry: dict[str, t.Any] = {"rfilename": path, "size": self.size, "blobId": self.oid}
        if self.sha256:
            entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": 135, **told}
        return entry

    def listed(self, path: str) -> dict[str, t.Any]:
        entry: dict[str, t.Any] = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.sha256:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 135}
        return entry


def blob_of(path: str, data: bytes | Path) -> Blob:
    sha256, size = hashlib.sha256(), 0
    for block in _blocks(data):
        sha256.update(block)
        size += len(block)
    git = path.endswith(_GIT_SUFFIXES)
    content = b"".join(_blocks(data)) if git else b"oid sha256:" + sha256.hexdigest().encode()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return Blob(data, size, oid, None if git else sha256.hexdigest())


def _blocks(data: bytes | Path) -> t.Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


class Hub:
    """The state of the hub: repositories with commits and branches, faults, and what was asked."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, window: int = 0) -> None:
        """`window` bounds what the kernel takes of an answer before anybody has read it, in bytes."""
        self.commits: dict[str, dict[str, dict[str, Blob]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.token = ""
        # What the hub has read of a repository's files itself.
        self.facts: dict[str, dict[str, t.Any]] = {}
        self.window = window
        self._lock = threading.Lock()
        self._answering = 0
        self._reset()
        hub = self

        class Bound(Handler):
            pass

        Bound.hub = hub
        ThreadingHTTPServer.daemon_threads = True
        ThreadingHTTPServer.request_queue_size = 128
        self._server = ThreadingHTTPServer((host, port), Bound)
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def _reset(self) -> None:
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.authorized: list[str] = []

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever()

    def publish(self, repository: str, files: t.Mapping[str, bytes | Path], branch: str = "main") -> str:
        """Make a commit of exactly these files and point the branch at it; older commits stay."""
        blobs = {path: blob_of(path, data) for path, data in files.items()}
        text = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(blobs.items()))
        commit = hashlib.sha1(f"{repository}\n{text}".encode()).hexdigest()
        self.commits.setdefault(repository, {})[commit] = blobs
        self.branches.setdefault(repository, {})[branch] = commit
        return commit

    def fault(self, path: str = "", **words: t.Any) -> None:
        self.faults.append(Fault(path=path, **words))

    def reset(self) -> None:
        """Forget faults and the log of requests; repositories stay."""
        self._reset()

    def settled(self) -> Counter[str]:
        """What was sent, once nothing is being answered any more: the last block is counted after it was sent."""
        deadline = time.monotonic() + 10
        while self._answering and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.sent

    def take_faults(self, method: str, path: str) -> list[Fault]:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return [fault]
            return []

    def commit_of(self, repository: str, revision: str) -> str | None:
        if revision in self.commits.get(repository, {}):
            return revision
        return self.branches.get(repository, {}).get(revision)

    def log(self) -> dict[str, t.Any]:
        return {"requests": dict(self.requests), "sent": dict(self.sent), "ranges": self.ranges}


class Handler(BaseHTTPRequestHandler):
    """One connection. Errors carry the headers that the real client looks at."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        if self.hub.window:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.hub.window)
        super().setup()

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.path == "/_control/fault":
            self.hub.fault(**json.loads(body))
            self._json(200, {})
        elif self.path == "/_control/reset":
            self.hub.reset()
            self._json(200, {})
        else:
            self._handle("POST")

    def _handle(self, method: str) -> None:
        with self.hub._lock:
            self.hub._answering += 1
        try:
            self._answer(method)
        finally:
            with self.hub._lock:
                self.hub._answering -= 1

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/_control/log":
            self._json(200, self.hub.log())
            return
        with self.hub._lock:
            self.hub.requests[f"{method} {path}"] += 1
            self.hub.authorized.append(self.headers.get("Authorization") or "")
        faults = self.hub.take_faults(method, path)
        for fault in faults:
            if fault.hang:
                time.sleep(fault.hang)
            if fault.text:
                self._json(fault.status or 200, fault.text, {"Content-Type": "text/html", **fault.headers})
                return
            if fault.status:
                self._json(fault.status, {"error": f"fault {fault.status}"}, fault.headers)
                return
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._json(401, {"error": "Invalid credentials in Authorization header"})
            return
        metadata = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path)
        content = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if tree:
            self._tree(tree[1], tree[2])
        elif metadata:
            self._metadata(metadata[1], metadata[2] or "main", faults)
        elif content:
            self._content(method, content[1], content[2], content[3], faults)
        else:
            self._json(404, {"error": "not found"})

    def _find(self, repository: str, revision: str) -> str | None:
        if repository not in self.hub.commits:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.commit_of(repository, revision)
        if commit is None:
            self._json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _metadata(self, repository: str, revision: str, faults: list[Fault]) -> None:
        commit = self._find(repository, revision)
        if commit is None:
            return
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        files = self.hub.commits[repository][commit]
        told = {key: value for fault in faults for key, value in fault.told.items()}
        listed = sorted(files.items())
        siblings = [blob.described(path, told) if blobs else {"rfilename": path} for path, blob in listed]
        self._json(
            200,
            {"id": repository, "modelId": repository, "sha": commit, "private": False, "gated": False,
             "tags": ["gguf"], "downloads": 1, "likes": 1, "siblings": siblings, **self.hub.facts.get(repository, {})},
        )  # fmt: skip

    def _tree(self, repository: str, revision: str) -> None:
        commit = self._find(repository, revision)
        if commit is None:
            return
        query = parse_qs(urlsplit(self.path).query)
        start = int(query.get("cursor", ["0"])[0])
        files = sorted(self.hub.commits[repository][commit].items())
        headers = {}
        if start + _PAGE < len(files):
            here = f"{self.hub.url}/api/models/{repository}/tree/{revision}?recursive=true&cursor={start + _PAGE}"
            headers["Link"] = f'<{here}>; rel="next"'
        self._json(200, [blob.listed(path) for path, blob in files[start : start + _PAGE]], headers)

    def _content(self, method: str, repository: str, revision: str, path: str, faults: list[Fault]) -> None:
        commit = self._find(repository, revision)
        if commit is None:
            return
        blob = self.hub.commits[repository][commit].get(path)
        if blob is None:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        etag = blob.sha256 or blob.oid
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if blob.sha256:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(blob.size)}
        location = next((fault.location for fault in faults if fault.location), "")
        if location:
            self._json(302, {}, {**headers, "Location": location + self.path})
            return
        if any(fault.gzip for fault in faults):
            data = gzip.compress(blob.data if isinstance(blob.data, bytes) else blob.data.read_bytes(), 1)
            blob = Blob(data, len(data), blob.oid, blob.sha256)
            headers["Content-Encoding"] = "gzip"
        start, end = 0, blob.size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and not any(fault.ignore_range for fault in faults):
            start = int(asked[1])
            end = min(int(asked[2]) + 1, blob.size) if asked[2] else blob.size
            with self.hub._lock:
                self.hub.ranges.append(f"{path} {start}-{end}")
            if start >= blob.size:
                self._json(416, {}, {"Content-Range": f"bytes */{blob.size}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        length = next((fault.length for fault in faults if fault.length is not None), end - start)
        self.send_response(206 if "Content-Range" in headers else 200)
        for name, value in {
            **headers,
            "Content-Length": str(length),
            "Content-Type": "application/octet-stream",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if method == "GET":
            self._send_body(blob, path, start, end, faults)

    def _send_body(self, blob: Blob, path: str, start: int, end: int, faults: list[Fault]) -> None:
        cut = min((fault.cut for fault in faults if fault.cut is not None), default=None)
        flips = [fault.flip for fault in faults if fault.flip is not None]
        rate = max((fault.rate for fault in faults), default=0)
        stop = end if cut is None else min(end, start + cut)
        self.wfile.flush()
        sent = 0
        try:
            if isinstance(blob.data, Path) and not flips and not rate:
                with blob.data.open("rb") as file:
                    while start + sent < stop:
                        done = os.sendfile(self.connection.fileno(), file.fileno(), start + sent, stop - start - sent)
                        if not done:
                            break
                        sent += done
            else:
                whole = blob.data if isinstance(blob.data, bytes) else blob.data.read_bytes()
                data = bytearray(whole[start:stop])
                for flip in flips:
                    if start <= flip < stop:
                        data[flip - start] ^= 0xFF
                block = max(1, rate // 20) if rate else _BLOCK
                for offset in range(0, len(data), block):
                    self.wfile.write(data[offset : offset + block])
                    sent += len(data[offset : offset + block])
                    if rate:
                        time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        with self.hub._lock:
            self.hub.sent[path] += sent
        if stop < end:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, document: t.Any, headers: t.Mapping[str, str] | None = None) -> None:
        data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve folders as a Hugging Face hub.")
    parser.add_argument("--root", type=Path, required=True, help="ROOT/<organisation>/<name>/<files>")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    hub = Hub(options.host, options.port)
    for folder in sorted(options.root.glob("*/*")):
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        repository = folder.relative_to(options.root).as_posix()
        print(f"{repository} main {hub.publish(repository, files)}", flush=True)
    print(f"listening on {hub.url}", flush=True)
    hub.serve()


if __name__ == "__main__":
    main()
