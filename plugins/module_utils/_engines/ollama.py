# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama: one daemon that stays up; served names are copies of the model's name, which cost no bytes.

A digest is that of a model's manifest, as `/api/tags` and `/api/ps` tell it and as the source `ollama` records it as
the revision. Copies of a name have it too, so it says which bytes a name stands for, and which are in memory.
"""

from __future__ import annotations

import re
import time
import typing as t

from .._api import openai
from .._api.http_client import get_json
from .._api.ollama import Loaded, OllamaApi, Tag, kept_name, normal_name, same_name
from .._core.engine import BROKEN, READY, Completion, Endpoint, Health, Meaning, Served, Settings
from .._core.errors import LlmError
from .._core.model import InstalledModel
from .._core.runtime import is_true
from .._core.traits import Traits
from .resident import Resident
from .single_model import meaning_of, unwell

# Seconds for a look at a daemon on the same host.
_LOOK = 5.0
# A model that was sent to sleep is read from the disk again.
_WAKE = 600.0
# Seconds below 0.
_FOREVER = "-1"
# What `/` says; Docker Model Runner answers Ollama's other paths too.
_GREETING, _IMITATION = "Ollama is running", "Docker Model Runner"
_PULL = "Pull it with source: ollama and the endpoint of this runtime, or create it there from a GGUF file."

# Lines of the daemon's log, and what it answers where a load fails. That it found no GPU is no error to it.
_MEANINGS = (
    (r"listen tcp (\S+): bind: address already in use", "port_in_use", "its address {0} is taken"),
    (r"listen tcp (\S+): bind: permission denied", "permission_denied", "it may not listen on {0}"),
    (
        r"model requires more system memory \(([^)]+)\) than is available \(([^)]+)\)",
        "out_of_memory",
        "the model needs {0} of memory and {1} are free",
    ),
    (r"cudaMalloc failed: out of memory|CUDA error: out of memory", "out_of_memory", "a GPU ran out of memory"),
    (r"terminated: signal: killed", "out_of_memory", "the host killed its runner, as it does when memory runs out"),
    (
        r"unknown model architecture: '([^']*)'",
        "model_unsuitable",
        "it does not know the model architecture '{0}'",
    ),
    (r"unsupported (?:model )?architecture", "model_unsuitable", "it does not support the model's architecture"),
    (r"(?:open|mkdir|stat) (\S+): permission denied", "permission_denied", "it has no access to {0}"),
    (r"\$HOME is not defined", "start_failed", "it has no home folder for its key"),
    (
        r"(?:llama runner|llama-server) process has terminated: ([^\"\n]+)",
        "start_failed",
        "its runner ended: {0}",
    ),
)  # fmt: skip


class Ollama(Resident):
    """Names of options are those of the daemon's variables, in small letters and without `OLLAMA_`.

    The environment names no model: another model or other served names leave it as it is, and need no restart.
    """

    name = "ollama"
    executable = "bin/ollama"
    default_port = 11434
    # It asks for none.
    api_key_variable = ""
    write_execute_memory = False
    parallel_option = "num_parallel"
    cache_option = "kv_cache_type"
    sleep_levels: tuple[int, ...] = (1,)
    option_types: t.Mapping[str, str] = {
        "debug": "int",
        "flash_attention": "bool",
        "gpu_overhead": "int",
        "keep_alive": "str",
        "kv_cache_type": "str",
        "llm_library": "str",
        "load_timeout": "str",
        "max_loaded_models": "int",
        "max_queue": "int",
        "models": "str",
        "no_cloud": "bool",
        "noprune": "bool",
        "num_parallel": "int",
        "origins": "str",
        "sched_spread": "bool",
    }
    # Seconds for weights to leave memory: work on them is finished first. And where no name stands for them any more,
    # so that it is not known whether the daemon was told anything at all.
    patience = 60.0
    last_try = 8.0

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        del options
        return (executable, "serve", *extra_args)

    def environment(self, settings: Settings) -> dict[str, str]:
        if re.fullmatch(r"-?0+(\.0+)?[a-z]*", str(settings.options.get("keep_alive", _FOREVER))):
            raise LlmError(
                "invalid_input",
                "With keep_alive 0 Ollama keeps no model in memory, and none could be proven.",
                remedy="Give it a time, as 10m, or leave it out: then models stay.",
            )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        variables = {
            "OLLAMA_HOST": f"{host}:{settings.port}",
            "OLLAMA_CONTEXT_LENGTH": str(settings.context_length),
            # Without it a request would put the model's end five minutes ahead.
            "OLLAMA_KEEP_ALIVE": _FOREVER,
        }
        for option, value in settings.options.items():
            # What it cannot parse counts as true, `no` too.
            flag = self.option_types.get(option) == "bool"
            variables[f"OLLAMA_{option.upper()}"] = ("1" if is_true(value) else "0") if flag else str(value)
        return variables

    def model_path(self, record: InstalledModel) -> str:
        if record.provider != "ollama":
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name} has source {record.provider}; Ollama serves what it keeps itself.",
                remedy="Pull it with source: ollama, or create it there from its GGUF file (create).",
            )
        return normal_name(record.model)

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        # What it keeps it took; on a CPU it runs the same files.
        del traits, options, gpu
        return None

    def health(self, endpoint: Endpoint) -> Health:
        """Of the daemon. Whether a model is in memory is seen from `served`; a request brings it there."""
        status, greeting = get_json(f"{endpoint.url}/", timeout=_LOOK)
        if status == 0:
            return unwell(0, str(greeting))
        if _IMITATION in str(greeting):
            return Health(BROKEN, f"that is {_IMITATION}")
        if status != 200 or str(greeting).strip() != _GREETING:
            return Health(BROKEN, f"that is not Ollama: {status} {str(greeting)[:150]}")
        status, body = get_json(f"{endpoint.url}/api/version", timeout=_LOOK)
        if status != 200 or not isinstance(body, dict) or not body.get("version"):
            return Health(BROKEN, f"it does not say its version: {status} {str(body)[:150]}")
        return Health(READY, f"version {body['version']}")

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        """A name is served where it stands for the bytes that were installed. Memory is None where they are not in."""
        api = OllamaApi(endpoint.url, timeout=_LOOK)
        try:
            tags, loaded = api.tags(), api.running()
        except LlmError as failure:
            if failure.reason == "unreachable":
                raise
            raise LlmError("proof_failed", failure.what, remedy=failure.remedy) from None
        own = _tag(tags, settings.model_path)
        wanted = settings.digest or (own.digest if own else "")
        found = [(name, _tag(tags, name)) for name in settings.served_names]
        standing = {name: tag.digest for name, tag in found if tag}
        entry = next((entry for entry in loaded if _is(entry.digest, wanted)), None)
        return Served(
            tuple(name for name, digest in standing.items() if _is(digest, wanted)),
            settings.model_path if own and _is(own.digest, wanted) else None,
            (entry.context_length or None) if entry else None,
            digest=standing.get(settings.served_names[0]) if settings.served_names else None,
            memory_bytes=entry.size if entry else None,
            vram_bytes=entry.size_vram if entry else None,
            taken=tuple(name for name, digest in standing.items() if not _is(digest, wanted)),
            asleep=entry is None and any(_is(tag.digest, wanted) for tag in tags),
            loaded=entry is not None,
            faults=(*(_moved(standing, wanted) if wanted else ()), *_stale(tags, loaded, settings, standing.values())),
        )

    def complete(self, endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
        return openai.complete(endpoint, model, prompt, max_tokens=max_tokens, timeout=timeout)

    def in_flight(self, endpoint: Endpoint) -> int | None:
        del endpoint
        return None

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        """Weights leave memory; the next request for them brings them back."""
        del level
        api = OllamaApi(endpoint.url, silence=self.patience)
        tags = api.tags()
        wanted = settings.digest or self._source(api, tags, settings).digest
        self._unload(api, tags, [entry for entry in api.running() if _is(entry.digest, wanted)])

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        self.load(endpoint, settings, _WAKE)

    def load(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        """Weights of before leave memory first: a name that moves under them could unload them no more."""
        api = OllamaApi(endpoint.url, silence=timeout)
        tags = api.tags()
        source = self._source(api, tags, settings)
        names = settings.served_names or (source.name,)
        own = _tag(tags, settings.model_path)
        named = any(same_name(name, settings.model_path) for name in names)
        if own and named and [tag.digest for tag in tags].count(own.digest) == 1 and own.digest != source.digest:
            # What was pulled since has this name only, and would go with it.
            raise _missing(api, settings, own)
        self._unload_others(api, tags, source, names)
        for name in names:
            tag = _tag(tags, name)
            if not tag or tag.digest != source.digest:
                api.copy(source.name, name)
        self._bring_in(api, settings, names[0], source.digest)
        # A request that came in between may have brought the weights of before back.
        self._unload_others(api, api.tags(), source, names)

    def release(self, endpoint: Endpoint, settings: Settings, kept_names: t.Container[str]) -> None:
        """A name that is the last one of its bytes stays: with it they would go."""
        api = OllamaApi(endpoint.url, silence=self.patience)
        tags = api.tags()
        own = _tag(tags, settings.model_path)
        wanted = settings.digest or (own.digest if own else "")
        self._unload(api, tags, [entry for entry in api.running() if _is(entry.digest, wanted)])
        same = [tag for tag in tags if _is(tag.digest, wanted)]
        for name in settings.served_names:
            alias = _tag(same, name)
            if not alias or name in kept_names or same_name(name, settings.model_path) or len(same) == 1:
                continue
            api.delete(alias.name)
            same.remove(alias)

    def keep(self, endpoint: Endpoint, runtime: str, digests: t.Collection[str]) -> None:
        """By names of their own, which cost no bytes: with its last name a model goes, and any name may move.

        A pull moves the model's own name, the next activation the served ones. Bytes that are gone already are no fault
        here: that is told when they are wanted.
        """
        api = OllamaApi(endpoint.url, timeout=_LOOK)
        tags = api.tags()
        there = [tag for tag in tags if tag.name.lower().startswith(kept_name(runtime).lower())]
        for digest in digests:
            source = next((tag for tag in tags if _is(tag.digest, digest)), None)
            if source and not any(_is(tag.digest, digest) for tag in there):
                api.copy(source.name, kept_name(runtime, source.digest))
        for tag in there:
            if not any(_is(tag.digest, digest) for digest in digests):
                api.delete(tag.name)

    def meaning(self, log: str) -> Meaning | None:
        return meaning_of(log, _MEANINGS)

    def _source(self, api: OllamaApi, tags: t.Sequence[Tag], settings: Settings) -> Tag:
        """A name that has the bytes that were installed: the model's own, or a served one where that has moved."""
        own = _tag(tags, settings.model_path)
        if own and _is(own.digest, settings.digest or own.digest):
            return own
        other = next((tag for tag in tags if _is(tag.digest, settings.digest)), None)
        if other:
            return other
        raise _missing(api, settings, own)

    def _bring_in(self, api: OllamaApi, settings: Settings, name: str, digest: str) -> None:
        keep_alive = str(settings.options.get("keep_alive", _FOREVER))
        for _attempt in (1, 2):
            try:
                # A number in quotes is no duration to it.
                api.load(name, keep_alive=int(keep_alive) if re.fullmatch(r"-?\d+", keep_alive) else keep_alive)
            except LlmError as failure:
                raise self._explained(failure) from None
            loaded, until = api.running(), time.monotonic() + _LOOK
            while not any(entry.digest == digest for entry in loaded) and time.monotonic() < until:
                sharing = [entry for entry in loaded if _weights(api, entry.name) == _weights(api, name)]
                if sharing:
                    # Another model with the same weights: its own settings would be told as ours.
                    self._unload(api, api.tags(), sharing)
                    break
                time.sleep(0.1)
                loaded = api.running()
            else:
                break
        if not any(entry.digest == digest for entry in loaded):
            raise LlmError("proof_failed", f"{api.place} said that {name} is loaded and does not list it.")

    def _explained(self, failure: LlmError) -> LlmError:
        meaning = self.meaning(failure.what)
        if meaning:
            return LlmError(meaning.reason, failure.what)
        return LlmError("start_failed", failure.what) if failure.reason == "hub_error" else failure

    def _unload_others(self, api: OllamaApi, tags: t.Sequence[Tag], source: Tag, names: t.Sequence[str]) -> None:
        """Have nothing but the bytes of `source` in memory under its name and `names`."""
        ours = (source.name, *names)
        others = [entry for entry in api.running() if entry.digest != source.digest and _is_named(entry.name, ours)]
        self._unload(api, tags, others)

    def _unload(self, api: OllamaApi, tags: t.Sequence[Tag], entries: t.Sequence[Loaded]) -> None:
        for entry in entries:
            tag = next((tag for tag in tags if tag.digest == entry.digest), None)
            if tag and not api.unload_digest(tag.name, entry.digest, deadline=self.patience):
                raise LlmError(
                    "timeout", f"{entry.name} is still in the memory of {api.place} after {self.patience:g} seconds."
                )
            # Its name may stand for the same weights with other settings, and then still unloads them.
            if not tag and not api.unload_digest(entry.name, entry.digest, deadline=self.last_try):
                raise LlmError(
                    "proof_failed",
                    f"{api.place} has stale weights of {entry.name} in memory, and no name stands for them any more.",
                    remedy="Restart the runtime: no request unloads them.",
                )


def _missing(api: OllamaApi, settings: Settings, own: Tag | None) -> LlmError:
    what = f"has other bytes as {settings.model_path} than were installed" if own else f"has no {settings.model_path}"
    return LlmError("model_missing", f"{api.place} {what}.", remedy=_PULL)


def _tag(tags: t.Iterable[Tag], name: str) -> Tag | None:
    return next((tag for tag in tags if same_name(tag.name, name)), None) if name else None


def _is(digest: str, wanted: str) -> bool:
    """Whether a digest is the one that was installed; the command line told only how that begins."""
    return bool(wanted) and digest.startswith(wanted)


def _is_named(name: str, names: t.Iterable[str]) -> bool:
    return any(same_name(name, other) for other in names if other)


def _weights(api: OllamaApi, name: str) -> str:
    """The file of a model's weights, which is what the daemon knows it by in memory."""
    found = re.search(r"^FROM (.+)$", str((api.show(name) or {}).get("modelfile", "")), re.MULTILINE)
    return found[1] if found else name


def _moved(standing: t.Mapping[str, str], wanted: str) -> t.Iterator[str]:
    for name, digest in standing.items():
        if not _is(digest, wanted):
            yield f"the name {name} stands for other bytes ({digest[:12]}, not {wanted[:12]})"


def _stale(
    tags: t.Sequence[Tag], loaded: t.Sequence[Loaded], settings: Settings, standing: t.Collection[str]
) -> t.Iterator[str]:
    """Weights in memory that no request gets any more, or that none should get."""
    ours = (settings.model_path, *settings.served_names)
    for entry in loaded:
        tag = _tag(tags, entry.name)
        if entry.digest in standing:
            continue
        if tag is None:
            yield f"stale weights: {entry.name} is in memory and was deleted"
        elif tag.digest != entry.digest and _is_named(entry.name, ours):
            yield f"stale weights: {entry.name} is in memory as {entry.digest[:12]} and on the disk as {tag.digest[:12]}"
