# SPDX-License-Identifier: GPL-3.0-or-later
"""What the paths of the Ollama stand-in do: models, blobs, generation, and the switchboard of faults."""

from __future__ import annotations

import json
import re
import time
import typing as t
from urllib.parse import unquote, urlsplit

import ollama_inference as inference
from ollama_http import JSON, PLAIN_JSON, Exchange
from ollama_models import Progress, RefusedError, go_json
from ollama_store import Manifest, Name, valid_digest

if t.TYPE_CHECKING:
    from ollama_daemon import Daemon


class Handler(Exchange):
    daemon: Daemon

    def route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/_control/"):
            self._control(path)
        elif not self._faulty(method, path):
            self._meaning(method, path)

    def _control(self, path: str) -> None:
        words = json.loads(self.payload or b"{}")
        if path == "/_control/fault":
            self.daemon.fault(**words)
        elif path == "/_control/set":
            self.daemon.set(**words)
        elif path == "/_control/reset":
            self.daemon.reset()
        self.json({"requests": dict(self.daemon.requests)} if path == "/_control/log" else {})

    def _faulty(self, method: str, path: str) -> bool:
        fault = self.daemon.take_fault(method, path)
        if fault is None:
            return False
        time.sleep(fault.hang)
        self.lines_left = fault.cut
        if fault.drop:
            self.end_connection()
        elif fault.status:
            self.send(fault.status, JSON, fault.body or go_json({"error": f"fault {fault.status}"}))
        return fault.drop or fault.status > 0

    def _meaning(self, method: str, path: str) -> None:
        if not self.daemon.allows(self.headers.get("Host") or ""):
            self.send(403, "", "")
            return
        methods = next((routes for pattern, routes in ROUTES.items() if re.fullmatch(pattern, path)), None)
        if methods is None:
            self.send(404, "text/plain", "404 page not found")
        elif method not in methods:
            self.send(405, "text/plain", "405 method not allowed", {"Allow": ", ".join(methods)})
        else:
            methods[method](self)

    # Models.

    def _found(self, text: str, message: str = "model '{}' not found") -> Manifest:
        manifest = self.daemon.store.find_text(text)
        if manifest is None:
            raise RefusedError(message.format(text), 404)
        return manifest

    def _root(self) -> None:
        self.send(200, "text/plain; charset=utf-8", "Ollama is running")

    def _version(self) -> None:
        self.json({"version": self.daemon.version})

    def _status(self) -> None:
        self.json({"cloud": {"disabled": False, "source": "none"}})

    def _tags(self) -> None:
        self.json({"models": self.daemon.models.tags()})

    def _ps(self) -> None:
        self.json({"models": self.daemon.memory.listed()})

    def _pull(self) -> None:
        body = self.body()
        name = Name.parse(str(body.get("model") or body.get("name") or ""))
        if name is None:
            raise RefusedError("invalid model name", 400)
        self.stream(body, lambda tell: self.daemon.puller.pull(name, bool(body.get("insecure")), tell))

    def _show(self) -> None:
        text = str(self.body().get("model") or "")
        if not text:
            raise RefusedError("model is required", 400)
        name = Name.parse(text)
        self.json(self.daemon.models.show(self._found(name.shortest if name else text)))

    def _copy(self) -> None:
        body = self.body()
        names = {word: Name.parse(str(body.get(word) or "")) for word in ("source", "destination")}
        for word, name in names.items():
            if name is None:
                raise RefusedError(f'{word} "{body.get(word, "")}" is invalid', 400)
        manifest = self._found(str(body["source"]), 'model "{}" not found')
        self.daemon.store.write(t.cast(Name, names["destination"]), manifest.raw)
        self.send(200, "", "")

    def _delete(self) -> None:
        body = self.body()
        text = str(body.get("model") or body.get("name") or "")
        if Name.parse(text) is None:
            raise RefusedError(f'name "{text}" is invalid', 400)
        self.daemon.store.delete(self._found(text))
        self.send(200, "", "")

    def _create(self) -> None:
        body = self.body()
        name = Name.parse(str(body.get("model") or body.get("name") or ""))
        if name is None:
            raise RefusedError("invalid model name", 400)

        def work(tell: Progress) -> None:
            self.daemon.models.create(body, name, lambda base: self.daemon.puller.pull(base, False, tell), tell)

        self.stream(body, work)

    def _blob_digest(self) -> str:
        digest = unquote(urlsplit(self.path).path).rpartition("/")[2]
        if not valid_digest(digest):
            raise RefusedError("invalid digest format", 400)
        return digest.replace("-", ":")

    def _has_blob(self) -> None:
        status = 200 if self.daemon.store.blob(self._blob_digest()).exists() else 404
        self.send_response(status)
        self.end_headers()

    def _put_blob(self) -> None:
        digest = self._blob_digest()
        if self.daemon.store.blob(digest).exists():
            self.send(200, "", "", {"Connection": "close"})
            return
        got, _ = self.daemon.store.put(self.payload)
        if got != digest:
            raise RefusedError(f'digest mismatch, expected "{digest}", got "{got}"', 400)
        self.send(201, "", "")

    # Generation.

    def _generate(self) -> None:
        self._answer("generate", "prompt")

    def _chat(self) -> None:
        self._answer("chat", "messages")

    def _answer(self, kind: str, key: str) -> None:
        body = self.body()
        text, keep_alive = str(body.get("model") or ""), body.get("keep_alive")
        if keep_alive is not None:
            inference.seconds_of(keep_alive)
        manifest = self._found(text)
        ends = keep_alive is not None and inference.seconds_of(keep_alive) == 0
        memory = self.daemon.memory
        if body.get(key):
            memory.load(manifest, dict(body.get("options") or {}), keep_alive)
            self._say(*inference.answers(memory, manifest, body, kind))
        elif not ends:
            memory.load(manifest, dict(body.get("options") or {}), keep_alive)
            self.json(inference.bare_answer(body, kind, "load"))
        if ends:
            memory.unload(manifest)
            if not body.get(key):
                self.json(inference.bare_answer(body, kind, "unload"))

    def _say(self, lines: list[dict[str, t.Any]], whole: dict[str, t.Any]) -> None:
        if self.body().get("stream") is False:
            self.json(whole)
            return
        for line in lines:
            self.line(line)
        self.end_lines()

    def _embed(self) -> None:
        manifest = self._found(str(self.body().get("model") or ""))
        if "embedding" not in self.daemon.models.capabilities(manifest):
            raise RefusedError("This server does not support embeddings. Start it with `--embeddings`", 501)
        self.json({"model": self.body()["model"], "embeddings": [[1.0, 0.0]]})

    # The paths of OpenAI.

    def _openai_models(self) -> None:
        models = [self._openai_model(manifest) for manifest in self.daemon.models.newest_first()]
        self.send(200, PLAIN_JSON, go_json({"object": "list", "data": models or None}) + "\n")

    def _openai_one(self) -> None:
        text = unquote(urlsplit(self.path).path).removeprefix("/v1/models/")
        name = Name.parse(text)
        manifest = self._found(name.shortest if name else text)
        self.send(200, PLAIN_JSON, go_json(self._openai_model(manifest)) + "\n")

    def _openai_model(self, manifest: Manifest) -> dict[str, t.Any]:
        name = manifest.name
        return {"id": name.shortest, "object": "model", "created": int(manifest.changed), "owned_by": name.namespace}

    def _openai_loaded(self) -> Manifest:
        body = self.body()
        if not body.get("model"):
            raise RefusedError("model is required", 400)
        manifest = self._found(str(body["model"]))
        self.daemon.memory.load(manifest, {}, None)
        return manifest

    def _openai_chat(self) -> None:
        manifest, body, memory = self._openai_loaded(), self.body(), self.daemon.memory
        if not body.get("stream"):
            self.send(200, PLAIN_JSON, go_json(inference.openai_answer(memory, manifest, body, True)) + "\n")
            return
        self.begin_lines(200, "text/event-stream")
        for event in inference.openai_stream(memory, manifest, body):
            self.text_line(f"data: {event}\n\n")
        self.end_lines()

    def _openai_completion(self) -> None:
        manifest = self._openai_loaded()
        answer = inference.openai_answer(self.daemon.memory, manifest, self.body(), False)
        self.send(200, PLAIN_JSON, go_json(answer) + "\n")


Action = t.Callable[[Handler], None]
ROUTES: dict[str, dict[str, Action]] = {
    r"/": {"GET": Handler._root, "HEAD": Handler._root},
    r"/api/version": {"GET": Handler._version, "HEAD": Handler._version},
    r"/api/status": {"GET": Handler._status},
    r"/api/tags": {"GET": Handler._tags, "HEAD": Handler._tags},
    r"/api/ps": {"GET": Handler._ps},
    r"/api/pull": {"POST": Handler._pull},
    r"/api/show": {"POST": Handler._show},
    r"/api/copy": {"POST": Handler._copy},
    r"/api/create": {"POST": Handler._create},
    r"/api/delete": {"DELETE": Handler._delete},
    r"/api/blobs/[^/]+": {"HEAD": Handler._has_blob, "POST": Handler._put_blob},
    r"/api/generate": {"POST": Handler._generate},
    r"/api/chat": {"POST": Handler._chat},
    r"/api/embed": {"POST": Handler._embed},
    r"/v1/models": {"GET": Handler._openai_models},
    r"/v1/models/.+": {"GET": Handler._openai_one},
    r"/v1/chat/completions": {"POST": Handler._openai_chat},
    r"/v1/completions": {"POST": Handler._openai_completion},
}
