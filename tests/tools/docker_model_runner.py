# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Docker Model Runner that keeps real models in a folder, with a registry and faults on a switchboard.

As a program it serves what is in DIR, on a TCP port or on a unix socket:
    python docker_model_runner.py --models DIR --port 12434 [--host 127.0.0.1] [--socket PATH] [--registry DIR]
As the `bin/dmr` of an engine it takes that program's words too: serve --port 12434 --models-path DIR
In tests it is a class: `runner = Runner(folder); port = runner.start(); …; runner.stop()`, or a context manager.

Its registry is a folder of its own, beside the models': `runner.publish("ai/smollm2", {"model.gguf": b"…"})` or
`POST /_control/publish` with `{"reference", "files": {"name": "base64"}}` or `{"reference", "folder": "path"}`;
publishing a tag again moves it, `withdraw` takes it away. Faults (see Fault) are set by `runner.fault(...)` or
`POST /_control/fault`; `POST /_control/set` has `answer`, `answers`, `load_seconds`, `reload_seconds`, `lines`,
`seconds`, `version`, `status`; `GET /_control/log` tells requests, bytes fetched and resumed; `POST /_control/reset`
forgets faults and log.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import re
import threading
import time
import typing as t
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from docker_model_runner_engine import Engine, Loaded
from docker_model_runner_ollama import STREAM, Imitation
from docker_model_runner_pull import Faults, Pulls
from docker_model_runner_store import (
    BrokenPullError,
    Document,
    Files,
    InvalidReferenceError,
    ModelNotFoundError,
    Registry,
    Store,
)
from stand_in import DroppedError, Listener, RefusedError, go_json

_BACKEND_DISK_USAGE = 15096040
_COMPLETIONS = re.compile(r"/engines(?:/(?P<backend>[^/]+))?/v1/(?:chat/completions|completions|embeddings)")


class Runner(Listener):
    """The whole program. It can be stopped and started again on the same folder, and then has the same models."""

    def __init__(
        self, models: Path, port: int = 0, *, host: str = "127.0.0.1", socket_path: Path | None = None,
        registry: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(host, port, socket_path)
        self.store = Store(models)
        self.registry = Registry(registry or models.with_name(models.name + ".registry"))
        self.faults = Faults()
        self.engine = Engine(self.store)
        self.pulls = Pulls(self.store, self.registry, self.faults)
        self.version = "v1.2.6"
        self.origins: list[str] = []

    def start(self) -> int:
        """Listen; the port is 0 on a unix socket."""
        runner_ = self

        class Bound(Handler):
            runner = runner_

        return self.listen(Bound)

    def stop(self) -> None:
        """Stop listening, end every connection and forget what is loaded; models stay on the disk."""
        super().stop()
        self.engine.loaded.clear()
        self.engine.configured.clear()

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def publish(self, reference: str, files: Files, **words: t.Any) -> str:
        """Put a model into the registry; the digest of its manifest. A tag that is there moves."""
        return self.registry.publish(reference, files, **words)

    def fault(self, reference: str = "", **words: t.Any) -> None:
        self.faults.add(reference=reference, **words)

    def set(self, words: Document) -> None:
        for name, value in words.items():
            owner = next(owner for owner in (self, self.engine, self.pulls) if name in vars(owner))
            setattr(owner, name, value)


class Handler(Imitation):
    """One connection. Errors are plain text, as Go's http.Error writes them."""

    runner: Runner

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        path = re.sub(r"^/exp/vDD[\d.]+(?=/)", "", unquote(address.path))
        try:
            if path.startswith("/_control/"):
                self._control(path.removeprefix("/_control/"))
                return
            self._meet_faults(path)
            self._route(re.sub(r"^/v1/", "/engines/v1/", path))
        except RefusedError as refused:
            self.plain(refused.status, refused.text)
        except ModelNotFoundError:
            self.plain(404, "model not found")
        except InvalidReferenceError as invalid:
            self.plain(500, f"error while tagging model: invalid tag: {invalid}")

    def _meet_faults(self, path: str) -> None:
        """Count the request, and give it to a fault if there is one for it."""
        runner, request = self.runner, f"{self.command} {path}"
        runner.faults.requests[request] += 1
        fault = runner.faults.of_request(request)
        if fault is not None:
            time.sleep(fault.hang)
            if fault.close:
                raise DroppedError
            if fault.status:
                raise RefusedError(fault.status, fault.text or f"fault {fault.status}")
        origin = self.headers.get("Origin")
        if origin and origin not in runner.origins:
            raise RefusedError(403, "Origin not allowed")

    def _route(self, path: str) -> None:
        completions = _COMPLETIONS.fullmatch(path)
        configure = re.fullmatch(r"/engines(?:/([^/]+))?/_configure", path)
        if path == "/":
            self.send(200, "text/plain; charset=utf-8", b"Docker Model Runner is running")
        elif completions and self.command == "POST":
            self._complete(completions["backend"])
        elif configure and self.command == "POST":
            self.runner.engine.configure(configure[1], self.document())
            self.send(202, "", b"")
        elif path == "/models/purge" and self.command == "DELETE":
            self.runner.store.purge()
            self.send(200, "", b"")
        elif path == "/models/create" and self.command == "POST":
            self._create()
        elif path.startswith("/models/") and self.command in ("GET", "POST", "DELETE"):
            self._model(path.removeprefix("/models/"))
        elif path.startswith("/api/"):
            self.imitate_ollama(self.command, path.removeprefix("/api/"))
        else:
            self._lists(path)

    def _lists(self, path: str) -> None:
        engine, store = self.runner.engine, self.runner.store
        request = f"{self.command} {path}"
        if request == "GET /version":
            self.json(200, {"version": self.runner.version})
        elif request == "GET /models":
            self.json(200, [store.described(entry) for entry in store.entries()])
        elif self.command == "GET" and re.fullmatch(r"/engines(/[^/]+)?/v1/models", path):
            self.json(200, {"object": "list", "data": [_openai(store.described(entry)) for entry in store.entries()]})
        elif self.command == "GET" and (named := re.fullmatch(r"/engines(?:/[^/]+)?/v1/models/(.+)", path)):
            self.json(200, _openai(store.described(store.find(named[1]))))
        elif request == "GET /engines/status":
            self.send(200, "application/json", go_json(engine.status).encode())
        elif request == "GET /engines/ps":
            self.json(200, engine.running())
        elif request == "GET /engines/df":
            self.json(200, {"models_disk_usage": store.size(), "default_backend_disk_usage": _BACKEND_DISK_USAGE})
        elif request == "GET /engines/_configure":
            self.json(200, engine.configurations(self.query.get("model", "")))
        elif request == "POST /engines/unload":
            self.json(200, {"unloaded_runners": engine.unload(self.document(dict))})
        elif request == "GET /metrics":
            self.send(200, "text/plain; version=0.0.4; charset=utf-8", b"# No active runners\n")
        elif path.startswith(("/models", "/engines")):
            raise RefusedError(404, "not found")
        else:
            raise RefusedError(404, "404 page not found")

    def _model(self, name: str) -> None:
        """One model: look at it, tag it, delete it."""
        store = self.runner.store
        if self.command == "GET" and self.query.get("remote") == "true":
            self.json(200, self.runner.pulls.inspect(name).described())
        elif self.command == "GET":
            self.json(200, store.described(store.find_by_part(name)))
        elif self.command == "DELETE":
            self._delete(name)
        elif name.endswith("/tag"):
            repository, tag = self.query.get("repo", ""), self.query.get("tag", "")
            if not repository or not tag:
                raise RefusedError(400, "missing repo or tag query parameter")
            target = f"{repository}:{tag}"
            store.tag(name.removesuffix("/tag"), target)
            self.json(201, {"message": f'Model tagged successfully with "{target}"', "target": target})
        else:
            raise RefusedError(404, f'unknown action "{name.rpartition("/")[2]}"')

    def _delete(self, name: str) -> None:
        try:
            done = self.runner.store.delete(name, self.query.get("force") == "true")
        except ModelNotFoundError:
            raise RefusedError(404, "error while deleting model: model not found") from None
        if done is None:
            reason = f'unable to delete "{name}" (must be forced) due to multiple tag references: resource conflict'
            raise RefusedError(409, f"error while deleting model: {reason}")
        self.json(200, done)

    def _create(self) -> None:
        """A pull. What fails before the first message has a status of its own; later it is a line after the others."""
        try:
            request = json.loads(self.body)
            reference, token = request.get("from", ""), request.get("bearer-token", "")
        except (ValueError, AttributeError):
            raise RefusedError(400, "invalid request body") from None
        as_json = self.headers.get("Accept") == "application/json"
        messages = self.runner.pulls.pull(reference, token)
        begun = False
        try:
            for message in messages:
                if not begun:
                    self.begin(200, {**STREAM, "Content-Type": "application/json" if as_json else "text/plain"})
                    begun = True
                line = go_json(message) + "\n"
                self.chunk(line if as_json else html.escape(line).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))
        except RefusedError as refused:
            plain = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
            self.begin(refused.status, {**STREAM, **plain})
            self.chunk(f"{refused.text}\n")
        except BrokenPullError as broken:
            self.chunk(f"{broken}\n")
        self.chunk()

    def _complete(self, backend: str | None) -> None:
        engine, request = self.runner.engine, self.document()
        loaded = engine.request(backend, request)
        if self.headers.get("X-Preload-Only") == "true":
            self.send(200, "", b"")
            return
        with loaded.used():
            if request.get("stream"):
                usage = (request.get("stream_options") or {}).get("include_usage", False)
                self._events(loaded, usage)
            else:
                answer = json.dumps(engine.completion(loaded)).encode()
                self.send(200, "application/json; charset=utf-8", answer)

    def _events(self, loaded: Loaded, usage: bool) -> None:
        self.begin(200, {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        for chunk in self.runner.engine.chunks(loaded, usage):
            self.chunk(f"data: {json.dumps(chunk)}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.chunk()

    def _control(self, name: str) -> None:
        runner = self.runner
        words = json.loads(self.body or b"{}")
        answer: Document = {}
        if name == "fault":
            runner.fault(**words)
        elif name == "reset":
            runner.faults.reset()
        elif name == "set":
            runner.set(words)
        elif name == "withdraw":
            runner.registry.withdraw(words["reference"])
        elif name == "publish":
            answer = {"digest": runner.publish(words["reference"], _files(words))}
        elif name == "log":
            answer = runner.faults.log()
        else:
            raise RefusedError(404, "no such control")
        self.json(200, answer)


def _files(words: Document) -> Files:
    if "folder" in words:
        folder = Path(words["folder"])
        return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: base64.b64decode(data) for name, data in words["files"].items()}


def _openai(model: Document) -> Document:
    config = model["config"]
    named = {"architecture": "architecture", "parameters": "parameters", "quantization": "quantization", "size": "size"}
    shown = {name: config[key] for name, key in {"context_window": "context_size", **named}.items() if key in config}
    identity = (model.get("tags") or [model["id"]])[0]
    return {"id": identity, "object": "model", "created": model["created"], "owned_by": "docker", "dmr": shown}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of models as Docker Model Runner does.")
    parser.add_argument("command", nargs="?", choices=["serve"], help="as `dmr` is told")
    parser.add_argument("--models", "--models-path", type=Path, required=True, help="the folder of its models")
    parser.add_argument("--port", type=int, default=12434)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--socket", type=Path, help="listen on this unix socket instead")
    parser.add_argument("--registry", type=Path, help="the folder of what is published (MODELS.registry)")
    options = parser.parse_args()
    runner = Runner(
        options.models, options.port, host=options.host, socket_path=options.socket, registry=options.registry
    )
    runner.start()
    print(f"listening on {options.socket or runner.url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
