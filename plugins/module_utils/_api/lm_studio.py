# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of LM Studio from 0.4: its models, downloads as jobs, loading and unloading.

The program is closed; facts are of its documentation of 2026-04-29 and its open client, none was seen running.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from .._core.errors import LlmError
from .daemon import Daemon, Reply, entries, number

_FINISHED = "completed"


@dataclass(frozen=True)
class LmInstance:
    """A model in memory under a name of its own; `context_length` in tokens, 0 where it is not told."""

    id: str
    context_length: int


@dataclass(frozen=True)
class LmModel:
    """A model on the disk. `size` in bytes, `max_context_length` in tokens, `loaded` are the names of its instances.

    `quantization` is that of the file it would load; `variants` are `key@quantization` for each file that is there.
    """

    key: str
    publisher: str
    size: int
    quantization: str
    max_context_length: int
    format: str
    loaded: tuple[str, ...]
    capabilities: dict[str, t.Any]
    display_name: str
    type: str
    variants: tuple[str, ...] = ()
    instances: tuple[LmInstance, ...] = ()

    def has(self, quantization: str) -> bool:
        """Whether a file of that quantization is there, in whatever case it is written."""
        there = (self.quantization, *(variant.rpartition("@")[2] for variant in self.variants))
        return quantization.lower() in [name.lower() for name in there]


@dataclass(frozen=True)
class Job:
    """A download: `status` is downloading, paused, completed or failed; sizes in bytes (0: not known yet)."""

    id: str
    status: str
    downloaded_bytes: int
    total_size_bytes: int


class LmStudioApi:
    """One LM Studio server. `token` is needed where it asks for one; `timeout` in seconds for each question."""

    def __init__(self, address: str, *, token: str = "", timeout: float = 30.0) -> None:
        self._daemon = Daemon(address, what="LM Studio", token=token, timeout=timeout)
        self.place = self._daemon.place

    def is_there(self) -> bool:
        """Whether LM Studio answers at the address; False if nothing does, or something else."""
        try:
            reply = self._daemon.request("GET", "/lmstudio-greeting")
            return reply.good and reply.document().get("lmstudio") is True
        except LlmError as error:
            if error.reason in ("unreachable", "hub_error"):
                return False
            raise

    def stranger(self) -> str:
        """What answers in place of LM Studio, in a few words; empty where it is LM Studio.

        Raises `unreachable` where nothing answers.
        """
        reply = self._daemon.request("GET", "/lmstudio-greeting")
        try:
            if reply.good and reply.document().get("lmstudio") is True:
                return ""
        except LlmError:
            pass
        said = (reply.text.strip().splitlines() or ["nothing"])[0][:80]
        return f"it is not LM Studio: it answered {reply.status} and said '{said}'"

    def models(self) -> list[LmModel]:
        """Every model on the disk. Raises `auth_error` where it wants a token, `not_found` before 0.4."""
        body = self._asked("GET", "/api/v1/models", "list its models").document()
        return [_model(entry) for entry in entries(body.get("models"))]

    def download(self, model: str, quantization: str = "") -> str | None:
        """Begin to download `model`, a name of its catalogue or an address on Hugging Face: the job's id.

        None if it is there already. `quantization` is taken only with an address. Raises `not_found`, `auth_error`,
        `transfer_failed`.
        """
        body = {"model": model, **({"quantization": quantization} if quantization else {})}
        read = self._asked("POST", "/api/v1/models/download", f"download {model}", body=body).document()
        status = str(read.get("status") or "")
        if status == "failed":
            raise LlmError("transfer_failed", f"{self.place} could not download {model}.", said=str(read)[:500])
        if read.get("job_id"):
            return str(read["job_id"])
        if status in ("already_downloaded", _FINISHED):
            return None
        raise LlmError(
            "hub_error", f"{self.place} began no download of {model}: it named no job.", said=str(read)[:500]
        )

    def job(self, identity: str) -> Job:
        """How far a download is. Raises `not_found` for a job it does not know (any more)."""
        path = f"/api/v1/models/download/status/{quote(identity, safe='')}"
        read = self._asked("GET", path, f"say how far job {identity} is").document()
        return Job(
            str(read.get("job_id") or identity),
            str(read.get("status") or ""),
            number(read.get("downloaded_bytes")),
            number(read.get("total_size_bytes")),
        )

    def wait(
        self,
        identity: str,
        progress: t.Callable[[Job], None],
        *,
        deadline: float,
        paused_limit: float = 300.0,
        pause: float = 2.0,
    ) -> Job:
        """Wait until a download is complete, asking every `pause` seconds; each answer goes to `progress`.

        `deadline` and `paused_limit` in seconds: for all of it, and for one stretch in which somebody has paused it.
        Raises `transfer_failed`, `timeout`. The download goes on without us: there is no request that ends it.
        """
        until = time.monotonic() + deadline
        paused_since: float | None = None
        while True:
            job = self.job(identity)
            progress(job)
            now = time.monotonic()
            if job.status == _FINISHED:
                return job
            if job.status == "failed":
                raise LlmError(
                    "transfer_failed",
                    f"{self.place} says that download {identity} failed.",
                    bytes_received=job.downloaded_bytes,
                    bytes_expected=job.total_size_bytes,
                )
            paused_since = (now if paused_since is None else paused_since) if job.status == "paused" else None
            if paused_since is not None and now - paused_since >= paused_limit:
                raise LlmError(
                    "timeout",
                    f"Download {identity} of {self.place} has been paused for {paused_limit:g} seconds.",
                    remedy="Let it go on in LM Studio, then run again.",
                )
            if now >= until:
                raise LlmError(
                    "timeout",
                    f"Download {identity} of {self.place} was not complete after {deadline:g} seconds.",
                    bytes_received=job.downloaded_bytes,
                    bytes_expected=job.total_size_bytes,
                )
            time.sleep(pause)

    def load(self, key: str, *, context_length: int, options: t.Mapping[str, t.Any], timeout: float) -> str:
        """Have a model in memory once more, also where it is already: the name of the new instance.

        That name is the key, or `key:2` if that is taken; none can be asked for. Raises `not_found`, `start_failed`.
        """
        body = {"model": key, "context_length": context_length, **options}
        reply = self._daemon.request("POST", "/api/v1/models/load", body=body, timeout=timeout)
        if not reply.good and reply.status not in (401, 403, 404):
            raise reply.failure(f"load {key}", "start_failed", remedy="Read what it said, and the log of LM Studio.")
        read = self._good(reply, f"load {key}").document()
        instance = str(read.get("instance_id") or "")
        if read.get("status") != "loaded" or not instance:
            raise LlmError("start_failed", f"{self.place} did not load {key}.", said=str(read)[:500])
        return instance

    def unload(self, instance: str) -> bool:
        """Take an instance (a name of `LmModel.loaded`) out of memory; False if there is none of that name."""
        reply = self._daemon.request("POST", "/api/v1/models/unload", body={"instance_id": instance})
        if reply.status == 404:
            return False
        self._good(reply, f"unload {instance}")
        return True

    def _asked(self, method: str, path: str, doing: str, *, body: t.Any = None) -> Reply:
        return self._good(self._daemon.request(method, path, body=body), doing)

    def _good(self, reply: Reply, doing: str) -> Reply:
        if not reply.good:
            remedy = "Pass an API token of LM Studio." if reply.status == 401 else None
            raise reply.failure(doing, remedy=remedy)
        return reply


def _model(entry: t.Mapping[str, t.Any]) -> LmModel:
    instances = tuple(_instance(instance) for instance in entries(entry.get("loaded_instances")))
    quantization = entry.get("quantization")
    name = quantization.get("name") if isinstance(quantization, dict) else quantization
    capabilities = entry.get("capabilities")
    return LmModel(
        key=str(entry.get("key") or ""),
        publisher=str(entry.get("publisher") or ""),
        size=number(entry.get("size_bytes")),
        quantization=str(name or ""),
        max_context_length=number(entry.get("max_context_length")),
        format=str(entry.get("format") or ""),
        loaded=tuple(instance.id for instance in instances),
        capabilities=capabilities if isinstance(capabilities, dict) else {},
        display_name=str(entry.get("display_name") or ""),
        type=str(entry.get("type") or ""),
        variants=tuple(str(variant) for variant in entry.get("variants") or ()),
        instances=instances,
    )


def _instance(entry: t.Mapping[str, t.Any]) -> LmInstance:
    config = entry.get("config")
    return LmInstance(
        str(entry.get("id") or ""), number(config.get("context_length")) if isinstance(config, dict) else 0
    )
