# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-cpp-python's own server: one model under one name, and little that it tells of itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._api import openai
from .._api.http_client import get_json
from .._core.engine import READY, Endpoint, Health, Served, Settings
from .._core.errors import LlmError
from .._core.fit import Fit, fit, gpu_share, need_of
from .._core.model import InstalledModel
from .._core.room import Room
from .._core.runtime import is_true
from .._core.traits import Traits
from .llama_cpp import LlamaCpp
from .single_model import SingleModel, unwell

# Seconds for a look at a server on the same host.
_LOOK = 5.0
# `split_mode` for a model that is not split (llama.cpp, LLAMA_SPLIT_MODE_NONE).
_ONE_GPU = 0

# Lines of its own log, before those of the llama.cpp that it has inside.
_MEANINGS = (
    (r"error while attempting to bind on address \('([^']*)', (\d+)", "port_in_use", "its port {1} is taken"),
    (r"Model path does not exist: (\S+)", "path_missing", "the model file {0} is not there"),
    (r"Failed to create llama_context", "out_of_memory", "it could not get the memory for its context"),
    (r"unrecognized arguments: (.+)", "invalid_input", "it does not know the arguments {0}"),
    (r"No module named '([^']*)'", "start_failed", "its installation lacks the Python module {0}"),
    *LlamaCpp.meanings,
    (r"Failed to load model from file: (\S+)", "model_unsuitable", "it cannot load {0}"),
)


class LlamaCppPython(SingleModel):
    """Names of options are the server's own.

    It takes each of them from an environment variable of the same name without any prefix too (MODEL, N_CTX, HOST …),
    so the variables that are set here all begin with `LLM_`, the key excepted.
    """

    name = "llama_cpp_python"
    # A launcher of the installation for `python -m llama_cpp.server`.
    executable = "bin/llama-cpp-python-server"
    default_port = 8000
    api_key_variable = "API_KEY"
    write_execute_memory = False
    meanings = _MEANINGS
    option_types: t.Mapping[str, str] = {
        "cache": "bool",
        "cache_size": "int",
        "chat_format": "str",
        "flash_attn": "bool",
        "main_gpu": "int",
        "n_batch": "int",
        "n_gpu_layers": "int",
        "n_threads": "int",
        "n_threads_batch": "int",
        "offload_kqv": "bool",
        "seed": "int",
        "split_mode": "int",
        "use_mlock": "bool",
        "use_mmap": "bool",
        "verbose": "bool",
    }

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        words = [executable, "--host", "${LLM_HOST}", "--port", "${LLM_PORT}"]
        words += ["--model", "${LLM_MODEL_PATH}", "--model_alias", "${LLM_SERVED_NAME}"]
        # Else a second request cuts off the first one's stream.
        words += ["--n_ctx", "${LLM_CONTEXT_LENGTH}", "--interrupt_requests", "false"]
        for option in sorted(options):
            words += [f"--{option}", f"${{LLM_{option.upper()}}}"]
        return (*words, *extra_args)

    def environment(self, settings: Settings) -> dict[str, str]:
        if len(settings.served_names) != 1:
            raise LlmError(
                "invalid_input",
                f"{self.name} serves a model under one name, and these are {', '.join(settings.served_names) or 'none'}.",
                remedy="Keep one of served_names, or use the engine llama_cpp.",
            )
        variables = {
            "LLM_HOST": settings.host,
            "LLM_PORT": str(settings.port),
            "LLM_MODEL_PATH": settings.model_path,
            "LLM_SERVED_NAME": settings.served_names[0],
            "LLM_CONTEXT_LENGTH": str(settings.context_length),
        }
        for option, value in settings.options.items():
            flag = self.option_types.get(option) == "bool"
            variables[f"LLM_{option.upper()}"] = str(is_true(value)).lower() if flag else str(value)
        return variables

    def model_path(self, record: InstalledModel) -> str:
        return LlamaCpp().model_path(record)

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        return LlamaCpp().refusal(traits, options, gpu=gpu)

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        options = settings.options
        if options.get("split_mode") is not None and int(options["split_mode"]) == _ONE_GPU:
            first = int(options.get("main_gpu") or 0)
            room = replace(room, cards=room.cards[first : first + 1])
        layers = int(options.get("n_gpu_layers") or 0)
        share = gpu_share(traits.layers, layers, gpu=room.gpu)
        verdict = fit(need_of(traits, context=settings.context_length, share=share), room)
        if room.gpu and not layers:
            return replace(verdict, ways=(*verdict.ways, "put it on the GPU (n_gpu_layers: -1)"))
        return verdict

    def health(self, endpoint: Endpoint) -> Health:
        """It has no path for it. It listens once the model is loaded, and lists it when no reply is being made."""
        status, body = get_json(f"{endpoint.url}/v1/models", headers=openai.authorization(endpoint), timeout=_LOOK)
        if status == 200 and isinstance(body, dict) and body.get("data"):
            return Health(READY)
        if status == 0 and get_json(f"{endpoint.url}/openapi.json", timeout=_LOOK)[0] == 200:
            return Health(READY, "busy with a reply")
        return unwell(status, str(body))

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        """Its one name. Any other name is answered too, by the same model: a reply's name proves nothing."""
        del settings
        names = tuple(str(entry.get("id")) for entry in openai.list_models(endpoint, timeout=_LOOK))
        return Served(names, None, None)
