# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of Ollama: its models, what of them is in memory, pulls and creations with their progress.

Facts are of Ollama 0.33.0 (`server/routes.go`, `server/images.go`, `types/model/name.go`) and of exchanges recorded
with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._core.errors import LlmError
from .daemon import Daemon, Reply, entries, go_reason, number, read_line

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
_KEPT = "llmops-fleet/kept-for-"
# What `/` says. Docker Model Runner answers Ollama's other paths too.
_GREETING = "Ollama is running"
# A status alone says that the call for a token failed, whatever the manifest itself would have answered.
_TEXTS = (
    ("engine_too_old", r"manifest: 412\b|^412\b|newer version of ollama"),
    ("auth_error", r"unauthorized|access denied|manifest: (401|403)\b|manifest: 404\s*$"),
    ("not_found", r"file does not exist|model ['\"].*['\"] not found|couldn't find model|specified tag is not"),
    ("model_unsuitable", r"not in GGUF format|is not GGUF|unsupported (model )?architecture"),
    ("invalid_name", r"invalid model name|(name|destination|source) \".*\" is invalid"),
    ("out_of_memory", r"more system memory|out of memory"),
)
_REMEDIES = {
    "auth_error": "Check the name, and that the hub knows the public key of Ollama's user (.ollama/id_ed25519.pub).",
    "engine_too_old": "Update Ollama, or choose an older model.",
}


class OllamaName(t.NamedTuple):
    """A model's name in full, as it stands in the registry's addresses and in the folder of manifests."""

    host: str
    namespace: str
    model: str
    tag: str


@dataclass(frozen=True)
class Tag:
    """A model that is on the disk. `digest` is 64 digits of the manifest's sha256, `size` is in bytes."""

    name: str
    digest: str
    size: int
    details: dict[str, t.Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A model in memory, with the digest it was loaded with; sizes in bytes, the context in tokens (0: unknown)."""

    name: str
    digest: str
    size: int
    size_vram: int
    context_length: int


@dataclass(frozen=True)
class PullLine:
    """One line of progress. `digest` is the layer it speaks of; `total` and `completed` are its bytes."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


def full_name(name: str) -> OllamaName:
    """`name` with the parts it leaves out; a scheme in front is dropped, as Ollama does."""
    bare = re.sub(r"^https?://", "", name.strip(), flags=re.IGNORECASE)
    path, slash, last = bare.rpartition("/")
    model, _colon, tag = last.partition(":")
    host, _slash, namespace = path.rpartition("/") if slash else ("", "", "")
    return OllamaName(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag or DEFAULT_TAG)


def normal_name(name: str) -> str:
    """The shortest form with tag, as the API prints names: `registry.ollama.ai/library/` is left out, case is kept."""
    host, namespace, model, tag = full_name(name)
    short = f"{model}:{tag}"
    if host.lower() != DEFAULT_HOST:
        return f"{host}/{namespace}/{short}"
    return short if namespace.lower() == DEFAULT_NAMESPACE else f"{namespace}/{short}"


def same_name(one: str, other: str) -> bool:
    """Whether two names mean one model: case does not matter."""
    return normal_name(one).lower() == normal_name(other).lower()


def kept_name(runtime: str, digest: str = "") -> str:
    """The name that keeps a digest's bytes for a rollback of a runtime; without a digest, how all of them begin.

    Names are alike to Ollama in any case, and runtimes are not; it takes 80 characters, and 64 of a runtime's.
    """
    exact = f"-{hashlib.sha256(runtime.encode()).hexdigest()[:6]}" if runtime != runtime.lower() else ""
    return f"{_KEPT}{runtime.lower()}{exact}:{digest[:12]}"


def is_kept_name(name: str) -> bool:
    return name.lower().startswith(_KEPT)


def parameters(text: str) -> dict[str, list[str]]:
    """The text of a model's parameters: a line each, name and value apart by spaces, names may repeat (`stop`).

    Values that Ollama wrote in quotes come without them. The order of names means nothing.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _space, value = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(_unquoted(value.strip()))
    return found


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value[1:-1]


def failure_of(text: str, subject: str, *, status: int = 0) -> LlmError:
    """The error for Ollama's words about `subject`; `status` is the answer's, 0 where there is none of its own."""
    reason = _reason(text) or {400: "invalid_input", 404: "not_found"}.get(status, "hub_error")
    words = text.strip()[:500].rstrip(".")
    return LlmError(reason, f"{subject}: {words}.", remedy=_REMEDIES.get(reason))


def _reason(text: str) -> str | None:
    found = next((reason for reason, pattern in _TEXTS if re.search(pattern, text, re.IGNORECASE)), None)
    if found is None and "no such file or directory" in text:
        return "path_missing"
    return found or go_reason(text)


class Unloading:
    """How a model is taken out of memory, whichever way the server is asked."""

    place: str

    def running(self) -> list[Loaded]:
        """Every model in memory."""
        raise NotImplementedError

    def unload(self, name: str, *, deadline: float = 60.0, pause: float = 0.2) -> bool:
        """Take a model out of memory and wait until it is out; False if it was not in.

        The answer comes before the model has gone, so what is loaded is asked again every `pause` seconds, for
        `deadline` seconds at most. Weights from before an update, or of a deleted model, go by no request: `in_use`
        for the deleted one, `timeout` for the other.
        """
        if not self._is_loaded(name):
            return False
        until = time.monotonic() + deadline
        self._ask_to_unload(name)
        while self._is_loaded(name):
            if time.monotonic() >= until:
                raise LlmError("timeout", f"{name} is still loaded by {self.place} after {deadline:g} seconds.")
            time.sleep(pause)
        return True

    def _ask_to_unload(self, name: str) -> None:
        """Ask once; raises `in_use` for a deleted model."""
        raise NotImplementedError

    def _is_loaded(self, name: str) -> bool:
        return any(same_name(entry.name, name) for entry in self.running())


class OllamaApi(Unloading):
    """One Ollama server. `timeout` in seconds for plain questions; `silence` for work that may say nothing for long."""

    def __init__(self, address: str, *, token: str = "", timeout: float = 30.0, silence: float = 1800.0) -> None:
        self._daemon = Daemon(address, what="Ollama", token=token, timeout=timeout)
        self._silence = silence
        self.place = self._daemon.place

    def version(self) -> str | None:
        """The server's version; None if what answers is something else. Raises `unreachable`, or a refusal's error."""
        reply = self._daemon.request("GET", "/")
        if reply.status in (401, 403):
            raise self._refused(reply, "say what it is")
        if reply.text.strip() != _GREETING:
            return None
        return str(self._asked("GET", "/api/version", "say its version").document().get("version") or "") or None

    def tags(self) -> list[Tag]:
        """Every model on the disk."""
        body = self._asked("GET", "/api/tags", "list its models").document()
        return [
            Tag(
                str(entry.get("name") or entry.get("model") or ""),
                _hexadecimal(entry.get("digest")),
                number(entry.get("size")),
                entry.get("details") or {},
                tuple(str(word) for word in entry.get("capabilities") or ()),
            )
            for entry in entries(body.get("models"))
        ]

    def running(self) -> list[Loaded]:
        """Every model in memory; one name can be there twice, with the digests from before and after an update."""
        body = self._asked("GET", "/api/ps", "list what is loaded").document()
        return [
            Loaded(
                str(entry.get("name") or entry.get("model") or ""),
                _hexadecimal(entry.get("digest")),
                number(entry.get("size")),
                number(entry.get("size_vram")),
                number(entry.get("context_length")),
            )
            for entry in entries(body.get("models"))
        ]

    def show(self, name: str) -> dict[str, t.Any] | None:
        """All that it tells of a model; None if it is not there."""
        reply = self._daemon.request("POST", "/api/show", body={"model": name})
        if reply.status == 404:
            return None
        return self._good(reply, f"show {name}").document()

    def pull(self, name: str, *, insecure: bool, progress: t.Callable[[PullLine], None]) -> None:
        """Download `name`, or look whether it is current; returns after the stream's `success`.

        `insecure` asks the registry over plain http. Leaving by an exception from `progress` ends the download. That
        something changed does not show in the lines: compare the digests before and after. A `success` is no proof
        of layers that were there before: they are trusted unread. Raises by what went wrong, see `failure_of`.
        """
        self._work("/api/pull", {"model": name, "insecure": insecure, "stream": True}, f"pull {name}", progress)

    def create(self, name: str, body: t.Mapping[str, t.Any], progress: t.Callable[[PullLine], None]) -> None:
        """Make `name` from `body` (`from` or `files`, `parameters`, `template` …); it writes a manifest every time."""
        self._work("/api/create", {**body, "model": name, "stream": True}, f"create {name}", progress)

    def delete(self, name: str) -> bool:
        """Remove a model from the disk, False if it was not there; one that is loaded stays in memory."""
        reply = self._daemon.request("DELETE", "/api/delete", body={"model": name})
        if reply.status == 404:
            return False
        self._good(reply, f"delete {name}")
        return True

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name, over one that may be there. Raises `not_found`."""
        body = {"source": source, "destination": destination}
        self._good(self._daemon.request("POST", "/api/copy", body=body), f"copy {source} to {destination}")

    def load(self, name: str, *, keep_alive: int | str) -> None:
        """Have a model in memory, and return when it is. `keep_alive`: seconds, or a Go duration; below 0 for ever."""
        body = {"model": name, "keep_alive": keep_alive}
        reply = self._daemon.request("POST", "/api/generate", body=body, timeout=self._silence)
        self._good(reply, f"load {name}")

    def unload_digest(self, name: str, digest: str, *, deadline: float = 60.0, pause: float = 0.1) -> bool:
        """Take the weights with `digest` out of memory, by a name that may stand for them; whether they are out.

        The answer comes before they have gone, so what is loaded is asked again, for `deadline` seconds at most.
        """
        until = time.monotonic() + deadline
        body = {"model": name, "keep_alive": 0}
        reply = self._daemon.request("POST", "/api/generate", body=body, timeout=self._silence)
        if reply.status != 404:
            self._good(reply, f"unload {name}")
        while any(entry.digest == digest for entry in self.running()):
            if reply.status == 404 or time.monotonic() >= until:
                return False
            time.sleep(pause)
        return True

    def has_blob(self, digest: str) -> bool:
        """Whether the bytes with `digest` (`sha256:` and 64 digits) are there."""
        reply = self._daemon.request("HEAD", f"/api/blobs/{digest}")
        if reply.status == 404:
            return False
        self._good(reply, f"look for {digest}")
        return True

    def upload_blob(self, digest: str, path: Path) -> None:
        """Send the file at `path`, read as it goes out. Raises `checksum_mismatch`, `path_missing`."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise LlmError("path_missing", f"{path} is not there.") from None
        except OSError as cause:
            raise LlmError("permission_denied", f"{path} could not be read: {cause.strerror}.") from None
        with file:
            reply = self._daemon.request("POST", f"/api/blobs/{digest}", data=file, timeout=self._silence)
        self._good(reply, f"take {path}")

    def _ask_to_unload(self, name: str) -> None:
        body = {"model": name, "keep_alive": 0}
        reply = self._daemon.request("POST", "/api/generate", body=body, timeout=self._silence)
        if reply.status == 404 and self._is_loaded(name):
            raise LlmError(
                "in_use", f"{name} was deleted from {self.place} while it was loaded.",
                remedy="It goes when its keep-alive ends, or with a restart of Ollama.",
            )  # fmt: skip
        if reply.status != 404:
            self._good(reply, f"unload {name}")

    def _work(self, path: str, body: t.Mapping[str, t.Any], doing: str, progress: t.Callable[[PullLine], None]) -> None:
        reply = self._daemon.request("POST", path, body=body, stream=True, timeout=self._silence)
        succeeded = False
        with self._good(reply, doing):
            for line in reply.lines:
                read = read_line(line, self.place)
                if read.get("error"):
                    raise failure_of(str(read["error"]), f"{self.place} could not {doing}")
                status, digest = str(read.get("status") or ""), str(read.get("digest") or "")
                succeeded = succeeded or status == "success"
                progress(PullLine(status, digest, number(read.get("total")), number(read.get("completed"))))
        if not succeeded:
            raise LlmError("transfer_failed", f"{self.place} was asked to {doing} and ended without success.")

    def _asked(self, method: str, path: str, doing: str) -> Reply:
        return self._good(self._daemon.request(method, path), doing)

    def _good(self, reply: Reply, doing: str) -> Reply:
        if not reply.good:
            raise self._refused(reply, doing)
        return reply

    def _refused(self, reply: Reply, doing: str) -> LlmError:
        if reply.status == 403 and not reply.text:
            # On loopback it answers only hosts that are local ones (server/routes.go, allowedHostsMiddleware).
            return reply.failure(doing, remedy="Ask it by its IP address or as localhost: it refuses other names.")
        return reply.failure(doing, _reason(reply.said))


def _hexadecimal(digest: t.Any) -> str:
    return str(digest or "").split(":", maxsplit=1)[-1]
