#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for `python -m llama_cpp.server`: one GGUF model, which says its sentence.

python llama_cpp_python_server.py --model FILE [--model_alias NAME] [--host H] [--port N] [--n_ctx N] ...

Each setting comes from an environment variable of the same name (MODEL, HOST, API_KEY …) where it is not given, as
with the real one. `--seconds`, how long a reply takes, is this program's own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
import typing as t
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ollama_gguf import header_of
from reciter import sentence_of

# Of llama_cpp/server/settings.py; what a setting does not change here is read and not used.
_NUMBERS = {
    "port": 8000, "n_ctx": 2048, "n_batch": 512, "n_gpu_layers": 0, "n_threads": 1, "n_threads_batch": 1, "seed": -1,
    "main_gpu": 0, "split_mode": 1, "cache_size": 2 << 30,
}  # fmt: skip
_TEXTS = {"model": "", "model_alias": "", "host": "localhost", "api_key": "", "chat_format": ""}
_FLAGS = {
    "interrupt_requests": True, "verbose": True, "use_mmap": True, "use_mlock": False, "flash_attn": False,
    "offload_kqv": True, "cache": False,
}  # fmt: skip


class Busy:
    """One reply at a time; a request that waits is seen by the one that is worked on."""

    def __init__(self) -> None:
        self.waiting = 0
        self._one = threading.Lock()

    def __enter__(self) -> None:
        self.waiting += 1
        self._one.acquire()
        self.waiting -= 1

    def __exit__(self, *_exception: object) -> None:
        self._one.release()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, settings: argparse.Namespace) -> None:
        self.settings = settings
        self.busy = Busy()
        name = str(header_of(Path(settings.model)).values.get("general.name"))
        self.words = re.findall(r"\s*\S+", sentence_of(name))
        super().__init__((settings.host, settings.port), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/openapi.json":
            self._json(200, {"openapi": "3.1.0"})
        elif self.path != "/v1/models":
            self._json(404, {"detail": "Not Found"})
        elif self._allowed():
            settings = self.server.settings
            entry = {"id": settings.model_alias or settings.model, "object": "model", "owned_by": "me"}
            with self.server.busy:
                self._json(200, {"object": "list", "data": [{**entry, "permissions": []}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path != "/v1/chat/completions":
            self._json(404, {"detail": "Not Found"})
        elif self._allowed():
            with self.server.busy:
                self._stream(body) if body.get("stream") else self._complete(body)

    def _allowed(self) -> bool:
        key = self.server.settings.api_key
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._json(401, {"detail": "Invalid API key"})
        return False

    def _said(self, body: dict[str, t.Any]) -> t.Iterator[str]:
        """The words, as they are made."""
        words = self.server.words
        for word in words[: int(body.get("max_tokens") or 0) or len(words)]:
            time.sleep(self.server.settings.seconds / len(words))
            yield word

    def _head(self, body: dict[str, t.Any], kind: str) -> dict[str, t.Any]:
        # Whatever was asked is echoed, and answered by the one model there is.
        model = body.get("model") or self.server.settings.model
        return {"id": f"chatcmpl-{uuid.uuid4()}", "object": kind, "created": int(time.time()), "model": model}

    def _complete(self, body: dict[str, t.Any]) -> None:
        said = list(self._said(body))
        message = {"role": "assistant", "content": "".join(said)}
        reason = "stop" if len(said) == len(self.server.words) else "length"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        usage = {"prompt_tokens": 20, "completion_tokens": len(said), "total_tokens": 20 + len(said)}
        self._json(200, {**self._head(body, "chat.completion"), "choices": [choice], "usage": usage})

    def _stream(self, body: dict[str, t.Any]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        head = self._head(body, "chat.completion.chunk")
        for word in self._said(body):
            choice = {"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}
            self.wfile.write(f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode())
            if self.server.settings.interrupt_requests and self.server.busy.waiting:
                break
        self.wfile.write(b"data: [DONE]\n\n")

    def _json(self, status: int, document: t.Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _flag(text: str) -> bool:
    words = {**dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
             **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False)}  # fmt: skip
    if text.lower() not in words:
        raise ValueError(f"Invalid boolean argument: {text}")
    return words[text.lower()]


def settings_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="__main__.py", allow_abbrev=False)
    kinds: list[tuple[dict[str, t.Any], t.Callable[[str], t.Any]]] = [(_NUMBERS, int), (_TEXTS, str), (_FLAGS, _flag)]
    for defaults, kind in kinds:
        for name, value in defaults.items():
            told = os.environ.get(name.upper())
            parser.add_argument(f"--{name}", type=kind, default=value if told is None else kind(told))
    parser.add_argument("--seconds", type=float, default=0.0)
    return parser.parse_args(words)


def main() -> int:
    settings = settings_of(sys.argv[1:])
    if not Path(settings.model).is_file():
        print(f"ValueError: Model path does not exist: {settings.model}", file=sys.stderr)
        return 1
    if Path(settings.model).read_bytes()[:4] != b"GGUF":
        print("gguf_init_from_file_impl: invalid magic characters: 'Thes', expected 'GGUF'", file=sys.stderr)
        print(f"ValueError: Failed to load model from file: {settings.model}", file=sys.stderr)
        return 1
    print(f"INFO:     Started server process [{os.getpid()}]", file=sys.stderr)
    try:
        server = Server(settings)
    except OSError as error:
        place = (settings.host, settings.port)
        what = f"error while attempting to bind on address {place}: {(error.strerror or '').lower()}"
        print(f"ERROR:    [Errno {error.errno}] {what}", file=sys.stderr)
        return 1
    url = f"http://{settings.host}:{settings.port}"
    print(f"INFO:     Uvicorn running on {url} (Press CTRL+C to quit)", file=sys.stderr, flush=True)
    server.serve_forever(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
