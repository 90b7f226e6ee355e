# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Ollama's registry: manifests and blobs over plain HTTP, with faults on a switchboard.

As a program: python ollama_registry.py --root DIR --port N [--host H] [--publish NAME=FILE.gguf ...]
In tests: `with Registry(root) as registry: registry.publish("acme/alpha:latest", layers, config)`.

What is published lies under the root and is read at each request, so another process may publish there too. A blob is
answered with a redirect to another host name (127.0.0.1 and localhost), as the daemon needs it. Over HTTP:
    POST /_control/fault  one Fault as JSON        GET /_control/log  {"requests": {"GET /v2/…": 1}, "sent": {…}}
    POST /_control/reset  forget faults and log
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import socket
import threading
import time
import typing as t
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import ollama_gguf
from ollama_models import go_json
from ollama_store import CONFIG_LAYER, MANIFEST, MODEL_LAYER, TAG, TEMPLATE_LAYER, Store, digest_of

_BLOCK = 1 << 16


@dataclass
class Fault:
    """One fault. `path` is a regular expression on the request's path; it is used up after `times` requests.

    `hang` seconds pass before the answer; `status` with `text` answers instead (401 asks for a token that nobody
    gives); `drop` ends the connection without an answer; `flip` inverts a bit of the byte at that offset of the blob;
    `cut` ends the connection after that many bytes of an answer; `rate` slows to bytes a second; `direct` answers a
    blob with 200 instead of the redirect. The first fault that fits a request is the one that happens to it. The
    bytes of a blob come from `/cdn/<digest>`, so that is the path for flip, cut, drop and rate.
    """

    path: str = ""
    times: int = 1_000_000
    method: str = "GET"
    hang: float = 0.0
    status: int = 0
    text: str = ""
    drop: bool = False
    flip: int | None = None
    cut: int | None = None
    rate: int = 0
    direct: bool = False


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Registry:
    """The state on the disk is a store whose host is always `registry`."""

    def __init__(self, root: Path, port: int = 0, host: str = "127.0.0.1", elsewhere: str = "") -> None:
        self.host, self.port, self.elsewhere = host, port, elsewhere
        self.store = Store(root)
        self.lock = threading.Lock()
        self._server: Server | None = None
        self.reset()

    def reset(self) -> None:
        """Forget faults and counters; what is published stays."""
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def start(self) -> int:
        registry = self

        class Bound(Handler):
            pass

        Bound.registry = registry
        self._server = Server((self.host, self.port), Bound)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self.port

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def __enter__(self) -> Registry:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def place(self) -> str:
        """The host and port, as they stand before a model's name."""
        return f"{self.host}:{self.port}"

    def publish(
        self, name: str, layers: t.Sequence[tuple[str, bytes]], config: t.Mapping[str, t.Any] | bytes | None = None
    ) -> bytes:
        """Point `namespace/model[:tag]` at these layers and tell the manifest's bytes; older blobs stay."""
        described = [self._described(media_type, data) for media_type, data in layers]
        if config is None:
            config = self._own_config([layer["digest"] for layer in described])
        data = config if isinstance(config, bytes) else json.dumps(config).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._described(CONFIG_LAYER, data),
            "layers": described,
        }
        raw = json.dumps(document).encode()
        path = self.manifest_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return raw

    def manifest_path(self, name: str) -> Path:
        model, _, tag = name.partition(":")
        return self.store.manifests_folder / "registry" / model / (tag or TAG)

    def _described(self, media_type: str, data: bytes) -> dict[str, t.Any]:
        digest, _ = self.store.put(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _own_config(self, digests: list[str]) -> dict[str, t.Any]:
        """The configuration that a model's weights ask for."""
        headers = (ollama_gguf.header_of(self.store.blob(digest)) for digest in digests)
        header = next((header for header in headers if header.values), None)
        words = ollama_gguf.config_of(header) if header else {}
        more = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}
        return {**words, **more}

    def fault(self, path: str = "", **words: t.Any) -> Fault:
        """Set a fault; it ends with reset(), or when its `times` is set to 0."""
        self.faults.append(Fault(path=path, **words))
        return self.faults[-1]

    def take_fault(self, method: str, path: str) -> Fault:
        with self.lock:
            self.requests[f"{method} {path}"] += 1
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return Fault()

    def log(self) -> dict[str, t.Any]:
        return {"requests": dict(self.requests), "sent": dict(self.sent)}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    registry: Registry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def send_error(self, *_arguments: t.Any, **_words: t.Any) -> None:
        """What is no HTTP, such as TLS, is hung up on without a word."""
        self._hang_up()

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        words = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/_control/fault":
            self.registry.fault(**words)
        elif self.path == "/_control/reset":
            self.registry.reset()
        self._send(200, go_json({}).encode())

    def _handle(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/_control/log":
            self._send(200, go_json(self.registry.log()).encode())
            return
        fault = self.registry.take_fault(method, path)
        time.sleep(fault.hang)
        with contextlib.suppress(ConnectionError):
            if fault.drop:
                self._hang_up()
            elif fault.status:
                self._fail(fault)
            else:
                self._answer(path, fault)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _fail(self, fault: Fault) -> None:
        headers = {}
        if fault.status == 401:
            realm = f"http://{self.headers.get('Host')}/token"
            headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="registry",scope="repository:pull"'
        self._send(fault.status, fault.text.encode(), headers)

    def _answer(self, path: str, fault: Fault) -> None:
        manifest = re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)", path)
        blob = re.fullmatch(r"/v2/[^/]+/[^/]+/blobs/(sha256:[0-9a-f]{64})", path)
        bytes_of = re.fullmatch(r"/cdn/(sha256:[0-9a-f]{64})", path)
        if manifest:
            self._manifest(self.registry.manifest_path(f"{manifest[1]}:{manifest[2]}"))
        elif blob and self.registry.store.blob(blob[1]).exists():
            self._blob(blob[1], fault)
        elif bytes_of and self.registry.store.blob(bytes_of[1]).exists():
            self._bytes(bytes_of[1], fault)
        else:
            self._send(404, b"")

    def _manifest(self, path: Path) -> None:
        if not path.exists():
            self._send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            return
        raw = path.read_bytes()
        self._send(200, raw, {"Content-Type": MANIFEST, "Ollama-Content-Digest": digest_of(raw)[7:]})

    def _blob(self, digest: str, fault: Fault) -> None:
        if self.command == "HEAD" or fault.direct:
            self._bytes(digest, fault)
            return
        self._send(307, b"", {"Location": f"http://{self._other_host()}/cdn/{digest}"})

    def _other_host(self) -> str:
        """The same place under another host name."""
        name, _, port = (self.headers.get("Host") or self.registry.place).rpartition(":")
        other = self.registry.elsewhere or ("127.0.0.1" if name == "localhost" else "localhost")
        return f"{other}:{port}"

    def _bytes(self, digest: str, fault: Fault) -> None:
        data = bytearray(self.registry.store.blob(digest).read_bytes())
        if fault.flip is not None:
            data[fault.flip] ^= 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1, len(data)) if asked and asked[2] else len(data)
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self.send_response(206 if asked else 200)
        for name, value in {**headers, "Content-Length": str(end - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._pour(digest, bytes(data[start:end]), fault)

    def _pour(self, digest: str, data: bytes, fault: Fault) -> None:
        stop = len(data) if fault.cut is None else min(fault.cut, len(data))
        block = max(1, fault.rate // 20) if fault.rate else _BLOCK
        for offset in range(0, stop, block):
            piece = data[offset : min(offset + block, stop)]
            self.wfile.write(piece)
            with self.registry.lock:
                self.registry.sent[f"/cdn/{digest}"] += len(piece)
            time.sleep(0.05 if fault.rate else 0)
        if stop < len(data):
            self._hang_up()

    def _send(self, status: int, data: bytes, headers: t.Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Stand in for Ollama's registry.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of manifests and blobs")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--elsewhere", default="", help="the other host name of the redirects")
    parser.add_argument("--publish", action="append", default=[], metavar="NAME=FILE.gguf")
    parser.add_argument("--only-publish", action="store_true", help="publish and end")
    options = parser.parse_args()
    registry = Registry(options.root, options.port, options.host, options.elsewhere)
    for name, _, file in (pair.partition("=") for pair in options.publish):
        layers = [(MODEL_LAYER, Path(file).read_bytes()), (TEMPLATE_LAYER, b"{{ .Prompt }}")]
        print(f"{name} {digest_of(registry.publish(name, layers))[7:]}", flush=True)
    if not options.only_publish:
        registry.start()
        print(f"listening on http://{registry.place}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
