#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for vLLM's server: one folder of safetensors, which says its sentence, as tests/fixtures/contracts/vllm say.

python vllm_server.py --host H --port N --model FOLDER --served-model-name A,B --max-model-len N [--enable-sleep-mode] …

It has a process that holds the weights, as the real one has, and listens when they are in memory. Unlike the real one
it can sleep without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import ollama_llama_server
from reciter import sentence_of

Document = dict[str, t.Any]
_TYPES = ("LlamaForCausalLM",)
_RUNNING, _WAITING = (f'vllm:num_requests_{word}{{engine="0",model_name="alpha"}}' for word in ("running", "waiting"))
_DISCARDED = 'vllm:engine_sleep_state{engine="0",sleep_state="discard_all"}'


class StartError(Exception):
    """Its text is what the real one has in its log."""


def check(folder: Path) -> Document:
    """The model's configuration; what the real one cannot load is refused in its words."""
    try:
        config: Document = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise StartError(f"Value error, Invalid repository ID or local directory specified: '{folder}'.") from None
    if config["architectures"][0] not in _TYPES:
        raise StartError(f"Value error, Model architectures {config['architectures']} are not supported for now.")
    weights = (folder / "model.safetensors").read_bytes()
    head = 8 + int.from_bytes(weights[:8], "little")
    end = max(entry["data_offsets"][1] for key, entry in json.loads(weights[8:head]).items() if key[:2] != "__")
    if len(weights) < head + end:
        said = "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata"
        raise StartError(f"(Worker pid=1) ERROR 11-21 11:30:44 [multiproc_executor.py:953] {said}")
    return config


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.names = options.served_model_name.split(",")
        self.key = os.environ.get("VLLM_API_KEY", "")
        self.may_sleep = options.enable_sleep_mode and os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
        self.lock = threading.Lock()
        self.load = 0
        self.dropped = False
        self.held: subprocess.Popen[bytes] | None = None
        config = check(Path(options.model))
        length = int(config["max_position_embeddings"])
        if options.max_model_len > length:
            raise StartError(
                f"Value error, User-specified max_model_len ({options.max_model_len}) is greater than the derived "
                f"max_model_len (max_position_embeddings={length}.0 or model_max_length=None in model's config.json)."
            )
        self.words = re.findall(r"\s*\S+", sentence_of(config["_name_or_path"]))
        self.hold()
        super().__init__((options.host, options.port), Handler)

    def hold(self) -> None:
        if self.held is None:
            weights = Path(self.options.model) / "model.safetensors"
            self.held = ollama_llama_server.start(weights, self.options.max_model_len)

    def let_go(self) -> None:
        if self.held:
            ollama_llama_server.end(self.held)
        self.held = None

    @property
    def asleep(self) -> bool:
        return self.held is None or self.dropped


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        state = f"{_DISCARDED} {float(server.dropped)}\n"
        bodies: dict[str, t.Any] = {
            "/version": {"version": "0.32.0"},
            "/load": {"server_load": server.load if server.options.enable_server_load_tracking else 0},
            "/metrics": f"{state}{_RUNNING} {float(server.load)}\n{_WAITING} 0.0\n",
        }
        if server.may_sleep:
            bodies["/is_sleeping"] = {"is_sleeping": server.asleep}
        path = urlsplit(self.path).path
        if path == "/health":
            alive = server.held is None or server.held.poll() is None
            self._send(200 if alive else 503, b"")
        elif path == "/v1/models":
            if self._allowed():
                self._json(200, {"object": "list", "data": [self._entry(name) for name in server.names]})
        elif path in bodies:
            self._send(200, bodies[path].encode()) if path == "/metrics" else self._json(200, bodies[path])
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        if address.path == "/v1/chat/completions":
            if self._allowed():
                self._complete(body)
        elif not self.server.may_sleep:
            self._json(404, {"detail": "Not Found"})
        elif address.path == "/sleep":
            self._sleep(int(query.get("level", "1")))
        elif address.path == "/wake_up":
            self._wake(query.get("tags"))
        elif address.path == "/collective_rpc" and body.get("method") == "reload_weights":
            self.server.dropped = False
            self._json(200, {"results": [None]})
        else:
            self._json(404, {"detail": "Not Found"})

    def _allowed(self) -> bool:
        if not self.server.key or self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return True
        self._json(401, {"error": "Unauthorized"})
        return False

    def _entry(self, name: str) -> Document:
        options = self.server.options
        return {
            "id": name, "object": "model", "created": 1795260288, "owned_by": "vllm", "root": options.model,
            "parent": None, "max_model_len": options.max_model_len, "permission": [],
        }  # fmt: skip

    def _sleep(self, level: int) -> None:
        if level > 2:
            said = "1 validation error:\n  {'type': 'less_than_equal', 'loc': 'query.level'}"
            self._json(400, {"error": {"message": said, "type": "Bad Request", "code": 400}})
            return
        self.server.let_go()
        self.server.dropped = level == 2
        self._json(200, {"status": "sleeping", "level": level})

    def _wake(self, tags: str | None) -> None:
        self.server.hold()
        named = [tags] if tags else None
        self._json(200, {"status": "sleeping" if self.server.asleep else "awake", "tags": named})

    def _complete(self, body: Document) -> None:
        server, name = self.server, body.get("model")
        if name not in server.names:
            said = f"The model `{name}` does not exist. Valid aliases: {', '.join(server.names)}."
            self._json(404, {"error": {"message": said, "type": "NotFoundError", "param": "model", "code": 404}})
            return
        with server.lock:
            server.load += 1
        spoken = server.words[: int(body.get("max_tokens") or 0) or len(server.words)]
        # Weights that were dropped and not read again are noise.
        text = "!" * 40 if server.dropped else "".join(spoken)
        choice = {
            "index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None,
            "finish_reason": "stop" if len(spoken) == len(server.words) else "length", "stop_reason": None,
        }  # fmt: skip
        usage = {"prompt_tokens": 20, "completion_tokens": len(spoken) + 1, "total_tokens": 21 + len(spoken)}
        head = {"id": "chatcmpl-ae148f8835a99534", "object": "chat.completion", "created": 1795260288}
        # Whichever of its names was asked for, the first one answers.
        self._json(200, {**head, "model": server.names[0], "choices": [choice], "usage": usage})
        with server.lock:
            server.load -= 1

    def _json(self, status: int, document: t.Any) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def options_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm-server", allow_abbrev=False)
    for name in ("--host", "--model", "--served-model-name"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--max-model-len"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--enable-server-load-tracking", action="store_true")
    parser.add_argument("--disable-access-log-for-endpoints", default="")
    for name in ("--enable-sleep-mode", "--enforce-eager"):
        parser.add_argument(name, action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


def main() -> int:
    try:
        server = Server(options_of(sys.argv[1:]))
    except StartError as failure:
        print(failure, file=sys.stderr)
        return 1
    except OSError as failure:
        print(f"OSError: [Errno {failure.errno}] {failure.strerror}", file=sys.stderr)
        return 1

    def leave(*_arguments: object) -> None:
        server.let_go()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("INFO:     Application startup complete.", file=sys.stderr, flush=True)
    server.serve_forever(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
