# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Model Runner: stays up while models come and go, and keeps their bytes itself.

It is told of models by their digest wherever it takes one. Names move from model to model, and what it lists as loaded
it lists by the name that was first asked for: only loaded by its digest does a model show which bytes are in memory.
Facts are of the source of 2026-07-22 (`pkg/inference/scheduling`) and of recordings
(tests/fixtures/contracts/docker_model_runner/serving.json).
"""

from __future__ import annotations

import re
import shlex
import time
import typing as t
from dataclasses import replace

from .._api import openai
from .._api.docker_model_runner import (
    DmrModel,
    DmrRunning,
    DockerModelRunnerApi,
    normal_reference,
    spelled_reference,
)
from .._core.engine import BROKEN, READY, REFUSED, Completion, Endpoint, Health, Meaning, Served, Settings
from .._core.errors import LlmError
from .._core.model import InstalledModel
from .._core.traits import GGUF, SAFETENSORS, Traits
from .docker_model_runner_identity import copies_of, digest_of, find, owners_of, wanted
from .resident import Resident
from .single_model import meaning_of

# Seconds for a question to a runner on the same host.
_LOOK = 5.0
# Seconds until a model is out of memory. One that loads cannot be stopped, and the runner itself gives it 300.
_OUT = 330.0
_WAKE = 600.0
_PAUSE = 0.2
# The runner takes a model out of memory after five idle minutes if it is told nothing else.
_FOR_EVER = "-1"
_COMPLETION = "completion"
_BUNDLE = re.compile(r"/bundles/sha256/([0-9a-f]{64})/")

# Lines of its log, or of its plain-text answers, which hold those of llama.cpp's server; most telling first.
_MEANINGS = (
    (r"listen tcp [^ ]*: bind: address already in use", "port_in_use", "its port is taken"),
    (r"unknown model architecture: '([^']*)'", "model_unsuitable", "it does not know the model architecture '{0}'"),
    (r"invalid magic characters", "model_unsuitable", "the model file is not GGUF"),
    (r"data is not within the file bounds", "model_unsuitable", "the model file is cut short or damaged"),
    (r"GGUF file required", "model_unsuitable", "its engine for this model reads nothing but GGUF"),
    (
        r"not enough GPU memory|cudaMalloc failed|(?:unable|failed) to allocate|bad_alloc",
        "out_of_memory",
        "it ran out of memory",
    ),
    (
        r"runtime flag \"?([^\" ]*)\"? is not allowed",
        "invalid_input",
        "it does not let the runtime flag {0} pass to its engine",
    ),
    (r"invalid runtime flag \"?([^\" ]*)", "invalid_input", "it refuses the runtime flag {0}"),
    (
        r"vLLM binary not found|backend \"?[\w.]*\"? ?is not installed|backend installation failed|backend not found",
        "engine_missing",
        "it has no engine for models of this format",
    ),
    (r"error loading model: (.+)", "model_unsuitable", "it cannot load the model: {0}"),
    (r"failed to load model|model loading error", "model_unsuitable", "it cannot load the model"),
    (r"model not found", "model_missing", "it does not have the model"),
    (r"took too long to initialize", "timeout", "the model was not in memory after its own limit of five minutes"),
)


class DockerModelRunner(Resident):
    """The runner of Docker Desktop or Docker Engine, run by Docker, or `dmr serve`, run as a unit of ours.

    `dmr serve` listens on every interface and knows no key: `host` cannot change that, only a firewall can. Of the
    options, `models_path` is for `dmr serve`; `keep_alive` (as in `30m`, else for ever) and `runtime_flags`, for the
    engine behind it, go with each model.
    """

    name = "docker_model_runner"
    executable = "bin/dmr"
    # Of `dmr serve`; in a container Docker decides.
    listens_everywhere = True
    default_port = 12434
    # It asks for none; a proxy in front of it may.
    api_key_variable = "LLM_API_KEY"
    write_execute_memory = False
    sleep_levels: tuple[int, ...] = (1,)
    option_types: t.Mapping[str, str] = {"keep_alive": "str", "models_path": "str", "runtime_flags": "str"}

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        words = [executable, "serve", "--port", "${LLM_PORT}"]
        if options.get("models_path"):
            words += ["--models-path", "${LLM_MODELS_PATH}"]
        return (*words, *extra_args)

    def environment(self, settings: Settings) -> dict[str, str]:
        # Nothing of the model: the runner stays up when that changes.
        variables = {"LLM_PORT": str(settings.port)}
        if settings.options.get("models_path"):
            variables["LLM_MODELS_PATH"] = str(settings.options["models_path"])
        return variables

    def model_path(self, record: InstalledModel) -> str:
        if record.provider != self.name:
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name} is of {record.provider}, and Docker Model Runner serves what it keeps itself.",
                remedy="Pull it with source: docker_model_runner.",
            )
        return spelled_reference(record.model)

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        del options
        if traits.format in (None, GGUF):
            return None
        if traits.format == SAFETENSORS:
            return None if gpu else "it serves safetensors files through vLLM, which it runs on a GPU only"
        return f"it answers with text from GGUF and safetensors files only, and these are {traits.format}"

    def health(self, endpoint: Endpoint) -> Health:
        """Of the runner; whether the model is in memory is told by `served`."""
        try:
            stranger = _client(endpoint).stranger()
        except LlmError as failure:
            return Health(REFUSED if failure.reason == "unreachable" else BROKEN, failure.what)
        return Health(BROKEN, stranger) if stranger else Health(READY)

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        """How much memory it takes is not told. What loads counts as awake: requests wait for it."""
        client = _client(endpoint)
        try:
            models, running = client.models(), client.running()
            model = find(models, settings)
            context = _context_of(client, model) if model else None
        except LlmError as failure:
            if failure.reason in ("unreachable", "proof_failed"):
                raise
            reason = "unreachable" if failure.reason == "timeout" else "proof_failed"
            raise LlmError(reason, failure.what, **failure.details) from None
        if not settings.model_path:
            return Served(tuple(normal_reference(tag) for known in models for tag in known.tags), None, None)
        names = [name for name in settings.served_names if model and model.is_called(name)]
        # What else clients can call it by.
        for tag in model.tags if model else ():
            if not any(normal_reference(name) == normal_reference(tag) for name in names):
                names.append(normal_reference(tag))
        first = next((known for known in models if known.is_called(settings.served_names[0])), None)
        copies = [entry for entry in running if model and model.id in [owner.id for owner in owners_of(entry, models)]]
        return Served(
            tuple(names),
            settings.model_path if model else None,
            context,
            digest=first.id if first else None,
            asleep=bool(model) and not copies,
            loaded=any(_is_ours(entry, models, settings) for entry in running),
            taken=tuple(
                name
                for name in settings.served_names
                if any(known.is_called(name) and (model is None or known.id != model.id) for known in models)
            ),
            faults=tuple(_faults(models, running, copies, model, settings)),
        )

    def complete(self, endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
        reply = openai.complete(endpoint, model, prompt, max_tokens=max_tokens, timeout=timeout)
        # The reply names the file that it was read from, and its folder is called by the digest.
        bundle = _BUNDLE.search(reply.model)
        return replace(reply, digest=f"sha256:{bundle[1]}" if bundle else None)

    def in_flight(self, endpoint: Endpoint) -> int | None:
        """At least so many: it tells which models work on requests, not on how many. One that loads has one waiting."""
        try:
            return sum(entry.in_use or entry.loading for entry in _client(endpoint).running())
        except LlmError:
            return None

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        if level not in self.sleep_levels:
            raise LlmError(
                "unsupported", f"Docker Model Runner has no sleep level {level}.", remedy="Use sleep level 1."
            )
        _put_out(_client(endpoint), settings)

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        self.load(endpoint, settings, _WAKE)

    def load(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        """First the model, then its names: until it can answer, they go on meaning the one before."""
        deadline = time.monotonic() + timeout
        client = _client(endpoint)
        model = wanted(client, settings)
        self._configure(client, model, settings, deadline)
        try:
            client.preload(model.id, timeout=_left(deadline))
        except LlmError as failure:
            raise self._explained(failure, settings) from None
        _until(
            lambda: any(not entry.loading for entry in copies_of(client, model)),
            deadline,
            f"{client.place} said that {settings.model_path} is loaded, and does not list it",
        )
        for name in settings.served_names:
            if not model.is_called(name):
                _clear(client, name, deadline)
                client.tag(model.id, name)
        named = wanted(client, settings)
        missing = [name for name in settings.served_names if not named.is_called(name)]
        if missing:
            raise LlmError("proof_failed", f"{client.place} gave {settings.model_path} no name {missing[0]}.")

    def release(self, endpoint: Endpoint, settings: Settings, kept_names: t.Container[str]) -> None:
        """A name that has moved to another model is left to that one, and so is the last name that a model has."""
        client = _client(endpoint)
        _put_out(client, settings)
        for name in settings.served_names:
            # Looked up anew for each: with its last name a model's bytes would go.
            model = find(client.models(), settings)
            own = normal_reference(name) == normal_reference(settings.model_path)
            if model and model.is_called(name) and not own and name not in kept_names and len(model.tags) > 1:
                client.delete(name, force=False)
        model = find(client.models(), settings)
        if model:
            # The next one who has it loaded is to get what they ask for.
            for configured in client.configurations(model.id) or ():
                client.unload([model.id], backend=configured.backend)

    def meaning(self, log: str) -> Meaning | None:
        return meaning_of(log, _MEANINGS)

    def _configure(self, client: DockerModelRunnerApi, model: DmrModel, settings: Settings, deadline: float) -> None:
        """Have it loaded with our context from now on; what is loaded so already is left alone."""
        keep_alive = str(settings.options.get("keep_alive", _FOR_EVER))
        flags = str(settings.options.get("runtime_flags") or "")
        words = _words(flags)
        if re.fullmatch(r"0+[a-z]*", keep_alive):
            raise LlmError(
                "invalid_input",
                "With keep_alive 0 Docker Model Runner keeps no model in memory, and none could be proven.",
                remedy="Give it a time, as 10m, or leave it out: then models stay.",
            )
        # While it loads, another configuration would be kept and not be used.
        _until(
            lambda: not any(entry.loading for entry in copies_of(client, model)),
            deadline,
            f"{client.place} has been loading {settings.model_path} all the time",
        )
        wanted = (settings.context_length, keep_alive, words)
        for told in client.configurations(model.id) or ():
            if told.mode == _COMPLETION and (told.context_length, told.keep_alive, told.flags) == wanted:
                return
        _until(
            lambda: client.configure(
                model.id, context_length=settings.context_length, keep_alive=keep_alive, flags=flags
            ),
            deadline,
            f"{client.place} cannot load {settings.model_path} anew: it is in use all the time",
        )

    def _explained(self, failure: LlmError, settings: Settings) -> LlmError:
        meaning = self.meaning(str(failure.details.get("said") or ""))
        if failure.reason != "start_failed" or meaning is None:
            return failure
        what = f"Docker Model Runner did not load {settings.model_path}: {meaning.sentence}."
        return LlmError(meaning.reason, what, **failure.details)


def _client(endpoint: Endpoint) -> DockerModelRunnerApi:
    return DockerModelRunnerApi(endpoint.url, token=endpoint.api_key, timeout=_LOOK)


def _words(flags: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(flags))
    except ValueError as cause:
        raise LlmError("invalid_input", f"The option runtime_flags cannot be read: {cause}.") from None


def _context_of(client: DockerModelRunnerApi, model: DmrModel) -> int | None:
    """What it was told to load the model with, else what the model's maker put into its description."""
    configured = client.configurations(model.id)
    if configured is None:
        return None
    told = next((entry.context_length for entry in configured if entry.mode == _COMPLETION), None)
    own = model.config.get("context_size")
    return told or (own if isinstance(own, int) and own > 0 else None)


def _faults(
    models: t.Sequence[DmrModel],
    running: t.Sequence[DmrRunning],
    copies: t.Sequence[DmrRunning],
    model: DmrModel | None,
    settings: Settings,
) -> t.Iterator[str]:
    if model is None:
        yield f"the runner does not have {digest_of(settings) or settings.model_path} any more"
    for name in settings.served_names:
        holder = next((known for known in models if known.is_called(name)), None)
        if holder and model and holder.id != model.id:
            yield f"the name {name} means {_short(holder.id)}, not {_short(model.id)}"
    for entry in running:
        if not owners_of(entry, models):
            yield f"{_short(entry.model)} is in memory, though it was deleted"
    if len({(entry.backend, entry.mode) for entry in copies}) < len(copies):
        yield f"{len(copies)} models are in memory under names of {settings.model_path}: one has other weights"


def _short(name: str) -> str:
    return name[:19] if name.startswith("sha256:") else name


def _put_out(client: DockerModelRunnerApi, settings: Settings) -> None:
    """Have the model out of memory, and see that it is.

    Unloading does nothing to a model that loads or works: that is waited for. Each request may bring it back, and it
    is taken out again.
    """
    deadline = time.monotonic() + _OUT
    futile = 0
    while True:
        models = client.models()
        model = find(models, settings)
        identity = model.id if model else digest_of(settings)
        went = client.unload([identity or settings.model_path])
        left = [entry for entry in client.running() if _is_ours(entry, models, settings)]
        if not left:
            return
        busy = any(entry.loading or entry.in_use for entry in left)
        futile = 0 if busy or went else futile + 1
        if futile > 1 or time.monotonic() >= deadline:
            why = (
                "it is loading or in use all the time"
                if busy
                else "they are of another model, or of one that was deleted"
            )
            raise LlmError(
                "stop_failed",
                f"{client.place} still has {left[0].model} in memory after it was told to unload it: {why}.",
                remedy="End its requests, or restart the runner.",
            )
        time.sleep(_PAUSE)


def _is_ours(entry: DmrRunning, models: t.Sequence[DmrModel], settings: Settings) -> bool:
    """Whether what is in memory is the model, or was loaded by a name of it that no model has any more."""
    model = find(models, settings)
    identity = model.id if model else digest_of(settings)
    owners = [owner.id for owner in owners_of(entry, models)]
    names = [normal_reference(name) for name in (settings.model_path, *settings.served_names)]
    return entry.model == identity or identity in owners or (not owners and normal_reference(entry.model) in names)


def _clear(client: DockerModelRunnerApi, name: str, deadline: float) -> None:
    """Have nothing in memory that was asked for by a name that is to move.

    Afterwards it would be taken for the model that has the name then, and no request would unload it.
    """
    while True:
        holder = next((known for known in client.models() if known.is_called(name)), None)
        found = [entry for entry in client.running() if normal_reference(entry.model) == normal_reference(name)]
        if not holder or not found:
            return
        busy = any(entry.loading or entry.in_use for entry in found)
        if not client.unload([holder.id]) and not busy:
            # What it is, is for the proof to tell.
            return
        if time.monotonic() >= deadline:
            raise LlmError("timeout", f"{client.place} has {name} in memory for other weights, in use all the time.")
        time.sleep(min(_PAUSE, _left(deadline)))


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _until(done: t.Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not done():
        if time.monotonic() >= deadline:
            raise LlmError("timeout", f"{otherwise}.")
        time.sleep(min(_PAUSE, _left(deadline)))
