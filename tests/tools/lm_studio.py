# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for LM Studio's server, REST v1: models in a folder, downloads that go by polls, faults on a switchboard.

As a program it serves what is in DIR/models, on this port:
    python lm_studio.py --home DIR --port 1234 [--host 127.0.0.1] [--token TOKEN]
In tests it is a class: `studio = LmStudio(home); port = studio.start(); …; studio.stop()`, or a context manager.

`studio.publish("ibm/granite-4-micro", "Q4_K_M", b"…")` or `POST /_control/publish` (`key`, `quantization`, `data` in
base64, `folder`) makes a model downloadable. A download goes through `states`, one a poll, and its last one stays;
`POST /_control/load` (`key`, `identifier`, `context_length`) is how the command `lms` loads. `POST /_control/set` has `polls` (how many until "completed"), `states` by key, `token`, `jit`, `load_seconds`,
`answer`. `POST /_control/fault` takes `path` (a regular expression on "METHOD path"), `status`, `text`, `hang`,
`close`, `times`; `POST /_control/reset` forgets faults and log; `GET /_control/log` tells requests.
It follows the documentation; the texts of its errors, and whatever the documentation leaves open, are made up.
"""

from __future__ import annotations

import argparse
import base64
import re
import threading
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docker_model_runner_pull import Faults
from lm_studio_home import Document, Home, Model, is_link, key_of
from stand_in import Answers, DroppedError, Listener, RefusedError

_DEFAULTS = {"context_length": 4096, "parallel": 4, "flash_attention": True}


@dataclass
class Job:
    """One download."""

    job_id: str
    name: str
    entry: Document
    states: list[str]
    started_at: str
    state: str = "downloading"
    polled: int = 0
    completed_at: str = ""

    def described(self) -> Document:
        size = self.entry["size"]
        share = 1.0 if self.state == "completed" else self.polled / (self.polled + len(self.states) + 1)
        document = {
            "job_id": self.job_id,
            "status": self.state,
            "downloaded_bytes": int(size * share),
            "total_size_bytes": size,
            "started_at": self.started_at,
        }
        if self.state == "downloading":
            document |= {"bytes_per_second": 1_000_000, "estimated_completion": _now()}
        return {**document, "completed_at": self.completed_at} if self.completed_at else document


class LmStudio(Listener):
    """The whole program: what is loaded and downloading is forgotten by a stop, models are not."""

    def __init__(self, home: Path, port: int = 0, *, host: str = "127.0.0.1", token: str = "") -> None:
        super().__init__(host, port)
        self.home = Home(home)
        self.faults = Faults()
        self.token = token
        self.jit = True
        self.polls = 2
        self.states: dict[str, list[str]] = {}
        self.load_seconds = 0.0
        self.answer = "Model {name} speaking from this host."
        self.jobs: dict[str, Job] = {}
        self.instances: dict[str, tuple[str, Document]] = {}
        self.lock = threading.RLock()

    def start(self) -> int:
        studio_ = self

        class Bound(Handler):
            studio = studio_

        port = self.listen(Bound)
        self.home.say_server(port)
        return port

    def stop(self) -> None:
        super().stop()
        self.home.say_server(None)
        self.jobs.clear()
        self.instances.clear()

    def __enter__(self) -> LmStudio:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def publish(self, key: str, quantization: str, data: bytes, folder: str = "") -> None:
        self.home.publish(key, quantization, data, folder)

    def fault(self, path: str, **words: t.Any) -> None:
        self.faults.add(path=path, **words)

    def download(self, name: str, quantization: str) -> Document:
        if quantization and not is_link(name):
            raise RefusedError(400, "quantization is only supported for Hugging Face links")
        entry = self.home.published(name, quantization)
        if entry is None:
            raise RefusedError(404, f"Model not found: {name}")
        if self.home.has(entry):
            return {"status": "already_downloaded"}
        with self.lock:
            job = next((job for job in self.jobs.values() if job.entry == entry and job.state == "downloading"), None)
            if job is None:
                states = list(self.states.get(key_of(name), ["downloading"] * (self.polls - 1) + ["completed"]))
                job = Job(f"job_{len(self.jobs) + 1:010x}", name, entry, states, _now())
                self.jobs[job.job_id] = job
        described = job.described()
        return {key: described[key] for key in ("job_id", "status", "total_size_bytes", "started_at")}

    def poll(self, job_id: str) -> Document:
        """One step of the download; the file is there when it is completed."""
        with self.lock:
            job = self.jobs.get(job_id)
            if job is None:
                raise RefusedError(404, f"Job not found: {job_id}")
            job.polled += 1
            if job.states:
                job.state = job.states.pop(0)
            if job.state == "completed" and not job.completed_at:
                self.home.download(job.name, job.entry)
                job.completed_at = _now()
            return job.described()

    def load(self, request: Document, identifier: str = "") -> Document:
        """Another instance at every call, also of a model that is loaded. REST knows no identifier."""
        model = self.home.find(request.get("model", ""))
        if model is None:
            raise RefusedError(404, f"Model not found: {request.get('model', '')}")
        time.sleep(self.load_seconds)
        given = {key: value for key, value in request.items() if key not in ("model", "echo_load_config")}
        with self.lock:
            numbers = (f":{number}" if number > 1 else "" for number in range(1, 100))
            if identifier and identifier in self.instances:
                raise RefusedError(400, f"The identifier {identifier} is taken")
            free = (f"{model.key}{end}" for end in numbers if f"{model.key}{end}" not in self.instances)
            identity = identifier or next(free)
            self.instances[identity] = (model.key, {**_DEFAULTS, **given})
        answer = {"type": "llm", "instance_id": identity, "load_time_seconds": self.load_seconds, "status": "loaded"}
        return {**answer, "load_config": {**_DEFAULTS, **given}} if request.get("echo_load_config") else answer

    def unload(self, identity: str) -> Document:
        with self.lock:
            if self.instances.pop(identity, None) is None:
                raise RefusedError(404, f"No loaded model has the instance id {identity}")
        return {"instance_id": identity}

    def described(self, model: Model) -> Document:
        facts = model.facts()
        loaded = [{"id": name, "config": config} for name, (key, config) in self.instances.items() if key == model.key]
        return {
            "type": "llm",
            "publisher": model.publisher,
            "key": model.key,
            "display_name": facts["name"],
            "architecture": facts["architecture"],
            "quantization": {"name": model.chosen.quantization, "bits_per_weight": model.chosen.bits},
            "size_bytes": facts["size"],
            "params_string": facts["parameters"],
            "loaded_instances": loaded,
            "max_context_length": facts["context"],
            "format": "gguf",
            "capabilities": {"vision": False, "trained_for_tool_use": False},
            "variants": model.variants,
            "selected_variant": facts["selected"],
        }

    def chat(self, request: Document) -> Document:
        """A fixed sentence; a model that is not loaded is loaded, if that is on."""
        name = request.get("model", "")
        model = self.home.find(self.instances[name][0] if name in self.instances else name)
        loaded = model is not None and any(key == model.key for key, _config in self.instances.values())
        if model is None or not (loaded or self.jit):
            raise RefusedError(404, f"Model not found: {request.get('model', '')}")
        if not loaded:
            self.load({"model": model.key})
        text = self.answer.replace("{name}", model.facts()["name"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        spent = len(text.split()) + 1
        usage = {"prompt_tokens": 29, "completion_tokens": spent, "total_tokens": 29 + spent}
        answered = name if name in self.instances else model.key
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "model": answered, "choices": [choice], "usage": usage,
        }  # fmt: skip


class Handler(Answers):
    """One connection."""

    studio: LmStudio

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if path.startswith("/_control/"):
                self.json(200, self._control(path.removeprefix("/_control/")))
                return
            self._meet_faults(path)
            status, document = self._route(f"{self.command} {path}")
            self.json(status, document)
        except RefusedError as refused:
            kinds = {401: "unauthorized", 404: "model_not_found"}
            kind = kinds.get(refused.status, "invalid_request")
            self.json(refused.status, {"error": {"type": kind, "message": refused.text}})

    def _meet_faults(self, path: str) -> None:
        studio, request = self.studio, f"{self.command} {path}"
        studio.faults.requests[request] += 1
        fault = studio.faults.of_request(request)
        if fault is not None:
            time.sleep(fault.hang)
            if fault.close:
                raise DroppedError
            if fault.status:
                raise RefusedError(fault.status, fault.text or f"fault {fault.status}")
        wanted = f"Bearer {studio.token}"
        if studio.token and path != "/lmstudio-greeting" and self.headers.get("Authorization") != wanted:
            raise RefusedError(401, "An API token is required")

    def _route(self, request: str) -> tuple[int, t.Any]:
        studio = self.studio
        status = re.fullmatch(r"GET /api/v1/models/download/status/([^/]+)", request)
        if status:
            return 200, studio.poll(status[1])
        if request == "GET /lmstudio-greeting":
            return 200, {"lmstudio": True}
        if request == "GET /api/v1/models":
            return 200, {"models": [studio.described(model) for model in studio.home.listed()]}
        if request == "GET /v1/models":
            return 200, {"object": "list", "data": [_openai(key) for key in self._served()]}
        if request.startswith("POST "):
            return self._post(request.removeprefix("POST "))
        return self._unexpected(request)

    def _post(self, path: str) -> tuple[int, t.Any]:
        studio = self.studio
        if path == "/api/v1/models/load":
            return 200, studio.load(self.document(dict))
        if path == "/api/v1/models/unload":
            return 200, studio.unload(self.document(dict).get("instance_id", ""))
        if path == "/api/v1/models/download":
            words = self.document(dict)
            return 200, studio.download(words.get("model", ""), words.get("quantization", ""))
        if path == "/v1/chat/completions":
            return 200, studio.chat(self.document(dict))
        return self._unexpected(f"POST {path}")

    def _unexpected(self, request: str) -> tuple[int, t.Any]:
        """LM Studio answers 200 to what it does not know."""
        return 200, {"error": f"Unexpected endpoint or method. ({request}). Returning 200 anyway"}

    def _served(self) -> list[str]:
        if self.studio.jit:
            return [model.key for model in self.studio.home.listed()]
        return list(dict.fromkeys(key for key, _config in self.studio.instances.values()))

    def _control(self, name: str) -> Document:
        studio = self.studio
        words = self.document(dict) if self.body else {}
        if name == "publish":
            data = base64.b64decode(words["data"])
            studio.publish(words["key"], words["quantization"], data, words.get("folder", ""))
        elif name == "load":
            return studio.load({"model": words["key"], "context_length": words["context_length"]}, words["identifier"])
        elif name == "fault":
            studio.fault(**words)
        elif name == "reset":
            studio.faults.reset()
        elif name == "set":
            for key, value in words.items():
                setattr(studio, key, value)
        elif name == "log":
            return {"requests": dict(studio.faults.requests)}
        else:
            raise RefusedError(404, "no such control")
        return {}


def _openai(key: str) -> Document:
    return {"id": key, "object": "model", "owned_by": "organization_owner"}


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of models as LM Studio does.")
    parser.add_argument("--home", type=Path, required=True, help="the folder that is ~/.lmstudio elsewhere")
    parser.add_argument("--port", type=int, default=1234)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--token", default="", help="the token that every request must bear")
    options = parser.parse_args()
    studio = LmStudio(options.home, options.port, host=options.host, token=options.token)
    studio.start()
    print(f"listening on {studio.url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
