# SPDX-License-Identifier: GPL-3.0-or-later
"""The imitation of Ollama in the stand-in for Docker Model Runner: enough to be taken for Ollama 0.1.0 by mistake."""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone

from docker_model_runner_store import BrokenPullError, Document, ModelNotFoundError
from stand_in import Answers, RefusedError, go_json

if t.TYPE_CHECKING:
    from docker_model_runner import Runner
    from docker_model_runner_engine import Loaded

STREAM = {"Cache-Control": "no-cache", "Connection": "keep-alive"}
_WITH_BODY = {"POST show", "POST pull", "POST chat", "POST generate", "DELETE delete"}


def _details(model: Document) -> Document:
    config = model["config"]
    family = config.get("architecture", "")
    return {
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": config.get("parameters", ""),
        "quantization_level": config.get("quantization", ""),
    }


def _listed(model: Document) -> t.Iterator[Document]:
    modified = datetime.fromtimestamp(model["created"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    for tag in model.get("tags") or [model["id"]]:
        yield {
            "name": tag, "model": tag, "modified_at": modified, "size": 0, "digest": model["id"],
            "details": _details(model),
        }  # fmt: skip


def _line(message: Document) -> Document:
    """A message of a pull in Ollama's words."""
    layer = message["layer"]
    if message["type"] == "progress":
        digest = layer["id"]
        status = f"pulling {digest.removeprefix('sha256:')[:12]}"
        return {"status": status, "digest": digest, "total": layer["size"], "completed": layer["current"]}
    return {"status": "success"} if message["type"] == "success" else {"error": message["message"]}


class Imitation(Answers):
    """The part of a connection that answers `/api/...`."""

    runner: Runner

    def imitate_ollama(self, method: str, name: str) -> None:
        """What makes it look like Ollama 0.1.0 to who asks only for that."""
        store, engine = self.runner.store, self.runner.engine
        if (method, name) == ("GET", "version"):
            self.json(200, {"version": "0.1.0"})
        elif (method, name) == ("GET", "tags"):
            described = [store.described(entry) for entry in store.entries()]
            self.json(200, {"models": [one for model in described for one in _listed(model)]})
        elif (method, name) == ("GET", "ps"):
            self.json(200, {"models": [self._running(loaded) for loaded in list(engine.loaded.values())]})
        elif f"{method} {name}" in _WITH_BODY:
            request = self.document(dict)
            self._request(name, request.get("name") or request.get("model", ""))
        else:
            raise RefusedError(404, "not found")

    def _running(self, loaded: Loaded) -> Document:
        """By the first tag; what is deleted keeps the name it was asked for."""
        try:
            name = self.runner.store.find(loaded.reference).tags[0]
        except (ModelNotFoundError, IndexError):
            return {"name": loaded.reference, "model": loaded.reference, "digest": loaded.reference}
        return {"name": name, "model": name, "digest": loaded.identity}

    def _request(self, action: str, name: str) -> None:
        store, engine = self.runner.store, self.runner.engine
        if action == "show":
            self.json(200, {"details": _details(store.described(store.find(name)))})
        elif action == "pull":
            self._pull(name)
        elif action == "delete":
            engine.unload({"models": [name]})
            try:
                store.delete(name)
            except ModelNotFoundError:
                text = "Failed to delete model: error while deleting model: model not found"
                raise RefusedError(500, text) from None
            self.send(200, "application/json", b"{}")
        else:
            loaded = engine.request(None, {"model": name})
            text = engine.sentence(loaded.identity)
            said = {"message": {"role": "assistant", "content": text}} if action == "chat" else {"response": text}
            self.json(200, {"model": name, **said, "done": True})

    def _pull(self, name: str) -> None:
        begun = False
        try:
            for message in self.runner.pulls.pull(name):
                if not begun:
                    self.begin(200, {**STREAM, "Content-Type": "application/x-ndjson"})
                    begun = True
                self.chunk(go_json(_line(message)) + "\n")
        except RefusedError as refused:
            self.json(500, {"error": f"Failed to pull model: {refused.text}"})
            return
        except BrokenPullError as broken:
            self.chunk(go_json({"error": f"Failed to pull model: {broken}"}) + "\n")
        self.chunk()
