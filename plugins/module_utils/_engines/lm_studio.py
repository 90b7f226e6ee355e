# SPDX-License-Identifier: GPL-3.0-or-later
"""LM Studio, the desktop program or its daemon: stays up while models come and go, and keeps their bytes itself.

A model in memory is an instance with a name of its own, and a second load makes a second instance (`key:2`) that takes
as much memory again. Its list for OpenAI's clients has what could be loaded too, so only its own list counts here.
The program is closed; facts are of its documentation of 2026-04-29 and of its open client of 2026-08-13.
"""

from __future__ import annotations

import time
import typing as t

from .._api import openai
from .._api.lm_studio import LmModel, LmStudioApi
from .._api.lm_studio_command import LmStudioCommand, find_command
from .._core.engine import BROKEN, READY, REFUSED, Completion, Endpoint, Health, Meaning, Served, Settings
from .._core.errors import LlmError
from .._core.model import InstalledModel
from .._core.runtime import is_true
from .._core.traits import GGUF, Traits
from .resident import Resident
from .single_model import meaning_of

# Seconds for a question to a server on the same host, and for an instance to be gone.
_LOOK = 5.0
_OUT = 60.0
_WAKE = 600.0
_PAUSE = 0.2

# Its engine for GGUF is llama.cpp, whose words come through. No failure of the program itself was recorded.
_MEANINGS = (
    (r"EADDRINUSE|address already in use", "port_in_use", "its port is taken"),
    (r"[Uu]nknown model architecture:? '?([^\s']*)", "model_unsuitable", "it does not know the model architecture {0}"),
    (
        r"insufficient system resources|not enough memory|cudaMalloc failed|(?:unable|failed) to allocate|bad_alloc",
        "out_of_memory",
        "it ran out of memory",
    ),
    (r"[Mm]odel not found", "model_missing", "it does not have the model"),
    (r"[Ff]ailed to load model", "model_unsuitable", "it cannot load the model"),
)


class LmStudio(Resident):
    """One server, started by its user: `supervisor: external`.

    Options: `executable` is its command `lms`, where it is in no usual place; `flash_attention` goes with the model.
    """

    name = "lm_studio"
    executable = "bin/lms"
    default_port = 1234
    api_key_variable = "LM_API_TOKEN"
    write_execute_memory = False
    sleep_levels: tuple[int, ...] = (1,)
    option_types: t.Mapping[str, str] = {"executable": "str", "flash_attention": "bool"}

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        """None of its commands stays: `lms daemon up` and `lms server start` tell a daemon of its own, and end."""
        del executable, options, extra_args
        raise LlmError(
            "unsupported",
            "LM Studio has no program that could be supervised: its commands start a daemon of their own, and end.",
            remedy="Use supervisor: external, and have its user start it: lms daemon up, lms server start.",
        )

    def environment(self, settings: Settings) -> dict[str, str]:
        """It has none of ours; but this is asked before anything is touched, and several names cannot be served."""
        if settings.model_path:
            _one_name(settings)
        return {}

    def model_path(self, record: InstalledModel) -> str:
        """The key that it lists the model by."""
        if record.provider != self.name:
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name} is of {record.provider}, and LM Studio serves what it keeps itself.",
                remedy="Pull it with source: lm_studio.",
            )
        return str(record.origin.get("key") or record.model)

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        del options, gpu
        if traits.format not in (None, GGUF, "mlx"):
            return f"it reads GGUF, and MLX on a Mac, and these are {traits.format}"
        return None

    def health(self, endpoint: Endpoint) -> Health:
        try:
            stranger = _client(endpoint).stranger()
        except LlmError as failure:
            return Health(REFUSED if failure.reason == "unreachable" else BROKEN, failure.what)
        return Health(BROKEN, stranger) if stranger else Health(READY)

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        """Neither a digest nor what a model takes in memory is told, by any question."""
        models = _asked(endpoint)
        if not settings.model_path:
            return Served(tuple(instance.id for model in models for instance in model.instances), None, None)
        model = _find(models, settings)
        instances = model.instances if model else ()
        first = next((one for one in instances if one.id in settings.served_names), instances[0] if instances else None)
        return Served(
            tuple(instance.id for instance in instances),
            settings.model_path if instances else None,
            first.context_length or None if first else None,
            asleep=model is not None and not instances,
            loaded=bool(instances),
            faults=tuple(_faults(models, model, settings)),
        )

    def complete(self, endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int, timeout: float) -> Completion:
        return openai.complete(endpoint, model, prompt, max_tokens=max_tokens, timeout=timeout)

    def in_flight(self, endpoint: Endpoint) -> int | None:
        # Only its command tells (`lms ps`), and that is not asked while only looking.
        del endpoint
        return None

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        if level not in self.sleep_levels:
            raise LlmError("unsupported", f"LM Studio has no sleep level {level}.", remedy="Use sleep level 1.")
        _put_out(_client(endpoint), settings)

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        self.load(endpoint, settings, _WAKE)

    def load(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        """What has the name and the context already stays; any other instance of the model goes first.

        An instance of another model that has the name goes too: a name is one instance's.
        """
        deadline = time.monotonic() + timeout
        name = _one_name(settings)
        client = _client(endpoint)
        models = client.models()
        model = _find(models, settings)
        if model is None:
            raise LlmError(
                "model_missing", f"{client.place} does not list {settings.model_path}.", remedy="Pull the model first."
            )
        # Found before anything is unloaded, so that what serves now goes on where this cannot be done.
        command = None if name == model.key else self._command(endpoint, settings)
        loaded = False
        for other in models:
            for instance in other.instances:
                right = instance.id == name and instance.context_length in (0, settings.context_length)
                if other.key == model.key and right and not loaded:
                    loaded = True
                elif other.key == model.key or instance.id == name:
                    client.unload(instance.id)
        if not loaded:
            self._load(client, command, settings, deadline)
        now = _find(client.models(), settings)
        ours = [one for one in (now.instances if now else ()) if one.id == name]
        if not ours or ours[0].context_length not in (0, settings.context_length):
            said = f"it has {ours[0].context_length} tokens of context" if ours else "it does not list that"
            raise LlmError("start_failed", f"{client.place} said that {model.key} is loaded as {name}, but {said}.")

    def release(self, endpoint: Endpoint, settings: Settings, kept_names: t.Container[str]) -> None:
        """A name is an instance of the model, and goes with it; one that is another model's by now stays."""
        del kept_names
        _put_out(_client(endpoint), settings)

    def meaning(self, log: str) -> Meaning | None:
        return meaning_of(log, _MEANINGS)

    def _command(self, endpoint: Endpoint, settings: Settings) -> LmStudioCommand:
        name, key = settings.served_names[0], settings.model_path
        program = find_command(str(settings.options.get("executable") or ""))
        if program is None or "flash_attention" in settings.options:
            why = "it is not there" if program is None else "that cannot set flash_attention"
            raise LlmError(
                "unsupported",
                f"LM Studio gives a model another name than its key only by its command lms, and {why}.",
                remedy=f"Set served_names: [{key}] instead of {name}, or the runtime's option executable."
                if program is None
                else f"Set served_names: [{key}] instead of {name}, or leave flash_attention out.",
            )
        return LmStudioCommand(program, endpoint.host, endpoint.port, token=endpoint.api_key)

    def _load(self, client: LmStudioApi, command: LmStudioCommand | None, settings: Settings, deadline: float) -> None:
        name, key = settings.served_names[0], settings.model_path
        left = max(1.0, deadline - time.monotonic())
        try:
            if command:
                command.load(key, name, context_length=settings.context_length, timeout=left)
                return
            flash = settings.options.get("flash_attention")
            options = {} if flash is None else {"flash_attention": is_true(flash)}
            made = client.load(key, context_length=settings.context_length, options=options, timeout=left)
        except LlmError as failure:
            meaning = self.meaning(f"{failure.what} {failure.details.get('said') or ''}")
            if failure.reason != "start_failed" or meaning is None:
                raise
            what = f"LM Studio did not load {key}: {meaning.sentence}."
            raise LlmError(meaning.reason, what, said=failure.what, **_without_said(failure.details)) from None
        if made != name:
            # Somebody loaded it in the same moment: theirs has the name, ours only doubles the memory.
            client.unload(made)


def _without_said(details: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in details.items() if key != "said"}


def _client(endpoint: Endpoint) -> LmStudioApi:
    return LmStudioApi(endpoint.url, token=endpoint.api_key, timeout=_LOOK)


def _asked(endpoint: Endpoint) -> list[LmModel]:
    try:
        return _client(endpoint).models()
    except LlmError as failure:
        if failure.reason == "unreachable":
            raise
        reason = "unreachable" if failure.reason == "timeout" else "proof_failed"
        raise LlmError(reason, failure.what, remedy=failure.remedy, **failure.details) from None


def _find(models: t.Iterable[LmModel], settings: Settings) -> LmModel | None:
    return next((model for model in models if model.key == settings.model_path), None)


def _one_name(settings: Settings) -> str:
    if len(settings.served_names) != 1:
        raise LlmError(
            "unsupported",
            f"LM Studio loads a model once for each name, and {settings.model_path} has "
            f"{len(settings.served_names)}: {', '.join(settings.served_names)}.",
            remedy="Give one served name.",
        )
    return settings.served_names[0]


def _faults(models: t.Sequence[LmModel], model: LmModel | None, settings: Settings) -> t.Iterator[str]:
    if model is None:
        yield f"LM Studio does not list {settings.model_path} any more"
    for other in models:
        if other.key != settings.model_path:
            for name in set(settings.served_names) & set(other.loaded):
                yield f"the name {name} means {other.key}, not {settings.model_path}"
    if model and len(model.instances) > 1:
        yield f"{model.key} is in memory {len(model.instances)} times, as {', '.join(model.loaded)}"


def _put_out(client: LmStudioApi, settings: Settings) -> None:
    """Have every instance of the model out of memory, and see that it is."""
    deadline = time.monotonic() + _OUT
    while True:
        model = _find(client.models(), settings)
        if model is None or not model.instances:
            return
        if time.monotonic() >= deadline:
            raise LlmError(
                "stop_failed",
                f"{client.place} still has {', '.join(model.loaded)} in memory after it was told to unload it.",
                remedy="End its requests, or restart LM Studio.",
            )
        for instance in model.loaded:
            client.unload(instance)
        time.sleep(_PAUSE)
