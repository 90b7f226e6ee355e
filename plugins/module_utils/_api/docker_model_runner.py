# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of Docker Model Runner: its models, what of them is in memory, pulls with their progress.

Facts are of the source of 2026-07-22 (`pkg/inference/models`, `pkg/distribution`) and of exchanges recorded with it.
Its errors are plain text.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import quote

from .._core.errors import LlmError
from .daemon import Daemon, Reply, entries, go_reason, number, size_of

# What `/` says. It answers Ollama's paths too, so no other path tells the two apart.
_GREETING = "Docker Model Runner is running"
_DEFAULT_HOSTS = ("docker.io", "index.docker.io")
_TEXTS = (
    ("invalid_name", r"invalid (model reference|tag)"),
    ("auth_error", r"unauthorized|access denied|(status from|manifests/).*: (401|403)\b|authentication required"),
    ("not_found", r"model not found|MANIFEST_UNKNOWN|NAME_UNKNOWN|(status from|manifests/).*: 404\b"),
    ("in_use", r"resource conflict"),
)
_BY_STATUS = {401: "auth_error", 404: "not_found", 409: "in_use", 422: "model_unsuitable"}
_IDENTITY = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}|[0-9a-f]{12}")
_REMEDIES = {
    "auth_error": "Check the name, and pass a token that may read it.",
    "not_found": "Check the spelling; a private model is not found either without a token that may read it.",
    "in_use": "Pass force: true, or remove its other names first.",
}


@dataclass(frozen=True)
class DmrModel:
    """A model. `id` is its manifest's digest (`sha256:…`), `size` is in bytes (rounded; 0: unknown)."""

    id: str
    tags: tuple[str, ...]
    size: int
    config: dict[str, t.Any] = field(default_factory=dict)

    def is_called(self, name: str) -> bool:
        """Whether `name` means this model: one of its tags, or its identity, short or whole."""
        if _IDENTITY.fullmatch(name):
            return self.id.partition(":")[2].startswith(name.rpartition(":")[2])
        return normal_reference(name) in [normal_reference(tag) for tag in self.tags]


@dataclass(frozen=True)
class DmrRunning:
    """A model in memory; `model` is the name that it was first asked for by, written as it was then."""

    backend: str
    model: str
    mode: str
    loading: bool
    in_use: bool


@dataclass(frozen=True)
class DmrConfiguration:
    """How a model is to be loaded. `context_length` is in tokens; what is None or empty was left to the runner."""

    backend: str
    mode: str
    context_length: int | None
    keep_alive: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class DmrLine:
    """One line of progress. `total` are the bytes of the model, the rest is of one `layer`; layers take turns."""

    message: str
    total: int = 0
    layer: str = ""
    layer_size: int = 0
    completed: int = 0


@dataclass(frozen=True)
class DmrDisk:
    """Bytes on the disk: of all models, and of the default engine."""

    models: int
    engine: int


def normal_reference(name: str) -> str:
    """A name as names are compared: with organisation and tag, lower case, without `docker.io/`.

    `smollm2` is `ai/smollm2:latest`, `hf.co/A/B` is `huggingface.co/a/b:latest`. An identity (`sha256:…`) stays.
    """
    return spelled_reference(name).lower()


def spelled_reference(name: str) -> str:
    """`normal_reference` with the tag in the case it was written in: registries tell tags apart by case."""
    bare = re.sub(r"^(https?|oci)://", "", name.strip(), flags=re.IGNORECASE)
    if bare.lower().startswith("sha256:"):
        return bare.lower()
    whole, at, digest = bare.partition("@")
    path, slash, last = whole.rpartition("/")
    model, _colon, tag = last.partition(":")
    steps = [step.lower() for step in (f"{path}{slash}{model}").split("/")]
    host = ""
    if len(steps) > 1 and ("." in steps[0] or ":" in steps[0] or steps[0] == "localhost"):
        host, *steps = steps
    if host in _DEFAULT_HOSTS:
        host = ""
    elif host == "hf.co":
        host = "huggingface.co"
    if not host and len(steps) == 1:
        steps.insert(0, "ai")
    end = f"@{digest}" if at and not tag else f":{tag or 'latest'}"
    return "/".join([host, *steps] if host else steps) + end


class DockerModelRunnerApi:
    """One runner. `timeout` in seconds for plain questions; `silence` for a pull, which may say nothing for long."""

    def __init__(self, address: str, *, token: str = "", timeout: float = 30.0, silence: float = 1800.0) -> None:
        self._daemon = Daemon(address, what="Docker Model Runner", token=token, timeout=timeout)
        self._silence = silence
        self.place = self._daemon.place

    def is_there(self) -> bool:
        """Whether the runner answers at the address; False if nothing does, or something else."""
        try:
            reply = self._daemon.request("GET", "/")
        except LlmError as error:
            if error.reason == "unreachable":
                return False
            raise
        return reply.good and reply.text.strip() == _GREETING

    def stranger(self) -> str:
        """What answers in place of the runner, in a few words; empty where it is the runner.

        Raises `unreachable` where nothing answers.
        """
        reply = self._daemon.request("GET", "/")
        if reply.good and reply.text.strip() == _GREETING:
            return ""
        # A proxy may have a page of its own there.
        engines = self._daemon.request("GET", "/engines/status")
        if engines.good and '"llama.cpp":' in engines.text:
            return ""
        said = (reply.text.strip().splitlines() or ["nothing"])[0][:80]
        return f"it is not Docker Model Runner: it answered {reply.status} and said '{said}'"

    def version(self) -> str:
        """The runner's version, without a `v` in front. Raises `unreachable`."""
        return str(self._asked("/version", "say its version").document().get("version") or "").lstrip("v")

    def models(self) -> list[DmrModel]:
        """Every model on the disk."""
        return [_model(entry) for entry in entries(self._asked("/models", "list its models").json())]

    def find(self, reference: str) -> DmrModel | None:
        """The model with this name or identity. The list is searched here: the runner takes parts of names too."""
        wanted = normal_reference(reference)
        return next(
            (
                model
                for model in self.models()
                if model.id == wanted or wanted in [normal_reference(tag) for tag in model.tags]
            ),
            None,
        )

    def remote(self, reference: str) -> DmrModel:
        """What the registry has under the name; nothing is pulled. Its identity is the one that a pull would give.

        Raises `not_found`, `auth_error`, `unreachable`, `hub_error`. A registry's refusal may come as `not_found`.
        """
        reply = self._daemon.request("GET", f"/models/{_path(reference)}?remote=true")
        return _model(self._good(reply, f"look up {reference}").document())

    def create(self, reference: str, *, token: str = "", progress: t.Callable[[DmrLine], None]) -> None:
        """Pull `reference`, or look whether it is current. `token` is for the registry.

        A model of Hugging Face that is there is never looked up again. After the first progress an error comes under
        status 200: as a line, and once more as plain text. Raises by what went wrong.
        """
        body = {"from": reference, **({"bearer-token": token} if token else {})}
        # The header must be exactly this, or the lines are HTML-escaped text.
        headers = {"Accept": "application/json"}
        reply = self._daemon.request(
            "POST", "/models/create", body=body, headers=headers, stream=True, timeout=self._silence
        )
        succeeded, said = False, ""
        with self._good(reply, f"pull {reference}"):
            for line in reply.lines:
                read = _read(line)
                if read is None or read.get("type") == "error":
                    said = said or str(read.get("message") or line if read else line)
                elif read.get("type") == "success":
                    succeeded = True
                if read is not None and not said:
                    progress(_line(read))
        if said:
            raise _failure(said, f"{self.place} could not pull {reference}")
        if not succeeded:
            raise LlmError("transfer_failed", f"{self.place} was asked to pull {reference} and ended without success.")

    def delete(self, reference: str, *, force: bool) -> bool:
        """Remove a name, and the model with its last name; False if it was not there.

        Raises `in_use` for an identity that has several names, unless `force`. What is loaded stays in memory.
        """
        # The whole name keeps one that is called like a route ("purge" removes everything) apart from it.
        reply = self._daemon.request("DELETE", f"/models/{_path(reference)}{'?force=true' if force else ''}")
        if reply.status == 404:
            return False
        self._good(reply, f"delete {reference}")
        return True

    def running(self) -> list[DmrRunning]:
        """Every model in memory, a deleted one too."""
        return [
            DmrRunning(
                str(entry.get("backend_name") or ""),
                str(entry.get("model_name") or ""),
                str(entry.get("mode") or ""),
                bool(entry.get("loading")),
                bool(entry.get("in_use")),
            )
            for entry in entries(self._asked("/engines/ps", "list what is loaded").json())
        ]

    def unload(self, models: t.Sequence[str], *, backend: str = "") -> int:
        """Take models out of memory; how many went. One that is loading or in use stays, an unknown one is no error.

        With `backend` only what that one serves goes, and how the models were configured for it is forgotten.
        """
        if not models:
            return 0
        body = {"all": False, "models": list(models), **({"backend": backend} if backend else {})}
        reply = self._daemon.request("POST", "/engines/unload", body=body)
        return number(self._good(reply, "unload models").document().get("unloaded_runners"))

    def tag(self, model: str, name: str) -> None:
        """Give the model with this name or identity another name; a model that had that name loses it."""
        repository, _colon, tag = spelled_reference(name).rpartition(":")
        # What looks like an identity is never looked up as a name.
        if "@" in repository or ".." in name or _IDENTITY.fullmatch(name):
            raise LlmError("invalid_name", f"'{name[:100]}' is no name that a model can be given.")
        path = f"/models/{_path(model)}/tag?repo={quote(repository, safe='')}&tag={quote(tag, safe='')}"
        self._good(self._daemon.request("POST", path), f"give {model} the name {name}")

    def configurations(self, identity: str) -> list[DmrConfiguration] | None:
        """How the model with this identity is to be loaded, by backend and mode; None where the runner does not tell."""
        reply = self._daemon.request("GET", f"/engines/_configure?model={quote(identity, safe=':')}")
        if reply.status in (404, 405):
            return None
        told = entries(self._good(reply, f"say how {identity} is configured").json())
        return [_configuration(entry) for entry in told if entry.get("ModelID") == identity]

    def configure(self, model: str, *, context_length: int, keep_alive: str, flags: str) -> bool:
        """Have the model loaded with this from now on; False if it is in use, and nothing was changed.

        It begins to load at once, anew if it was loaded otherwise. A model that is not there is accepted too.
        Raises `invalid_input` for a flag that the runner does not let pass.
        """
        body = {"model": model, "context-size": context_length, "keep_alive": keep_alive}
        reply = self._daemon.request(
            "POST", "/engines/_configure", body={**body, **({"raw-runtime-flags": flags} if flags else {})}
        )
        if reply.status == 409:
            return False
        if not reply.good and "runtime flag" in reply.text:
            raise LlmError("invalid_input", f"{self.place}: {reply.text.strip().rstrip('.')[:500]}.")
        self._good(reply, f"configure {model}")
        return True

    def preload(self, model: str, *, timeout: float) -> None:
        """Have the model in memory; returns when it is, and it ends with the request if that ends early.

        Raises `start_failed` with all that was `said`, `timeout`.
        """
        reply = self._daemon.request(
            "POST", "/engines/v1/chat/completions", body={"model": model, "messages": []},
            headers={"X-Preload-Only": "true"}, timeout=timeout,
        )  # fmt: skip
        if not reply.good:
            said = reply.text.strip()
            first = (said.splitlines() or ["it said nothing"])[0].rstrip(".")[:300]
            what = f"{self.place} could not load {model}, it answered {reply.status}: {first}."
            raise LlmError("start_failed", what, said=said[:2000])

    def disk_usage(self) -> DmrDisk:
        body = self._asked("/engines/df", "say what it takes on the disk").document()
        return DmrDisk(number(body.get("models_disk_usage")), number(body.get("default_backend_disk_usage")))

    def _asked(self, path: str, doing: str) -> Reply:
        return self._good(self._daemon.request("GET", path), doing)

    def _good(self, reply: Reply, doing: str) -> Reply:
        if not reply.good:
            said = reply.text.strip()[:500] or "it said nothing"
            raise _failure(said, f"{self.place} could not {doing}, it answered {reply.status}", status=reply.status)
        return reply


def _failure(text: str, subject: str, *, status: int = 0) -> LlmError:
    """The error for the runner's words about `subject`; `status` is 0 for what stood in a stream."""
    found = next((reason for reason, pattern in _TEXTS if re.search(pattern, text, re.IGNORECASE)), None)
    by_status = {400: "invalid_input", 403: "forbidden", **_BY_STATUS}.get(status, "hub_error")
    reason = found or go_reason(text) or by_status
    details = {"status": status} if status else {}
    return LlmError(reason, f"{subject}: {text.rstrip('.')[:500]}.", remedy=_REMEDIES.get(reason), **details)


def _path(reference: str) -> str:
    if ".." in reference or not reference.strip():
        # A step upwards would lead to another route.
        raise LlmError("invalid_name", f"'{reference[:100]}' is no name of a model.")
    return quote(spelled_reference(reference), safe="/:@")


def _model(entry: t.Mapping[str, t.Any]) -> DmrModel:
    config = entry.get("config")
    config = config if isinstance(config, dict) else {}
    tags = tuple(str(tag) for tag in entry.get("tags") or ())
    return DmrModel(str(entry.get("id") or ""), tags, size_of(str(config.get("size") or "")), config)


def _configuration(entry: t.Mapping[str, t.Any]) -> DmrConfiguration:
    config = entry.get("Config")
    config = config if isinstance(config, dict) else {}
    return DmrConfiguration(
        str(entry.get("Backend") or ""),
        str(entry.get("Mode") or ""),
        number(config.get("context-size")) or None,
        str(config.get("keep_alive") or ""),
        tuple(str(flag) for flag in config.get("runtime-flags") or ()),
    )


def _read(line: str) -> dict[str, t.Any] | None:
    try:
        read = json.loads(line)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _line(read: t.Mapping[str, t.Any]) -> DmrLine:
    layer = read.get("layer") or {}
    total, size, current = number(read.get("total")), number(layer.get("size")), number(layer.get("current"))
    return DmrLine(str(read.get("message") or ""), total, str(layer.get("id") or ""), size, current)
