# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's server, and programs that take its options."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from .._api import openai
from .._api.http_client import get_json
from .._core.engine import LOADING, READY, SLEEPING, Endpoint, Health, Served, Settings
from .._core.errors import LlmError
from .._core.fit import Fit, fit, gpu_share, need_of
from .._core.model import InstalledModel
from .._core.room import Room
from .._core.runtime import is_true
from .._core.traits import GGUF, Traits
from .single_model import SingleModel, unwell

_MAGIC = b"GGUF"
_FIRST_PART = re.compile(r"-00001-of-\d{5}\.gguf$")
# Seconds for a look at a server on the same host.
_LOOK = 5.0
# A model that sleeps is read from the disk again before it answers.
_WAKE = 600.0
# `--n-gpu-layers auto`, which is its default.
_AUTOMATIC = -1

# Lines of the server's log and what they mean (recorded: tests/fixtures/contracts/llama_cpp/start_failures.json).
_MEANINGS = (
    (r"couldn't bind HTTP server socket", "port_in_use", "its port is taken"),
    (r"unknown model architecture: '([^']*)'", "model_unsuitable", "it does not know the model architecture '{0}'"),
    (r"invalid magic characters", "model_unsuitable", "the model file is not GGUF"),
    (r"data is not within the file bounds", "model_unsuitable", "the model file is cut short or damaged"),
    (r"failed to open GGUF file '([^']*)' \(([^)]*)\)", "permission_denied", "it cannot open {0}: {1}"),
    (r"error: invalid argument: (\S+)", "invalid_input", "it does not know the argument {0}"),
    (r"(?:cudaMalloc failed|unable to allocate|failed to allocate|bad_alloc)", "out_of_memory", "it ran out of memory"),
    (
        r"(?:ImportError|error while loading shared libraries): (\S+): cannot open",
        "system_library_missing",
        "the host has no shared library {0}",
    ),
    (r"error loading model: (.+)", "model_unsuitable", "it cannot load the model: {0}"),
)


class LlamaCpp(SingleModel):
    """Names of options are the server's own long option names, with `_` for `-`."""

    name = "llama_cpp"
    executable = "bin/llama-server"
    default_port = 8080
    api_key_variable = "LLAMA_API_KEY"
    write_execute_memory = False
    sleep_levels: tuple[int, ...] = (1,)
    meanings = _MEANINGS
    option_types: t.Mapping[str, str] = {
        "batch_size": "int",
        "flash_attn": "str",
        "mlock": "bool",
        "n_gpu_layers": "int",
        "parallel": "int",
        "sleep_idle_seconds": "int",
        "threads": "int",
        "threads_batch": "int",
        "ubatch_size": "int",
    }

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        words = [executable, "--host", "${LLM_HOST}", "--port", "${LLM_PORT}"]
        words += ["--model", "${LLM_MODEL_PATH}", "--alias", "${LLM_SERVED_NAMES}"]
        words += ["--ctx-size", "${LLM_CONTEXT_SIZE}", "--parallel", "${LLM_PARALLEL}", "--metrics"]
        for option in sorted(set(options) - {"parallel"}):
            flag = "--" + option.replace("_", "-")
            if self.option_types.get(option) != "bool":
                words += [flag, f"${{LLM_{option.upper()}}}"]
            elif is_true(options[option]):
                words.append(flag)
        return (*words, *extra_args)

    def environment(self, settings: Settings) -> dict[str, str]:
        parallel = int(settings.options.get("parallel") or 1)
        variables = {
            "LLM_HOST": settings.host,
            "LLM_PORT": str(settings.port),
            "LLM_MODEL_PATH": settings.model_path,
            "LLM_SERVED_NAMES": ",".join(settings.served_names),
            "LLM_CONTEXT_LENGTH": str(settings.context_length),
            # The server divides its context among the slots; what was asked is what one request may use.
            "LLM_CONTEXT_SIZE": str(settings.context_length * parallel),
            "LLM_PARALLEL": str(parallel),
        }
        for option, value in settings.options.items():
            if option != "parallel" and self.option_types.get(option) != "bool":
                variables[f"LLM_{option.upper()}"] = str(value)
        return variables

    def model_path(self, record: InstalledModel) -> str:
        candidates = [entry.path for entry in record.files if entry.path.lower().endswith(".gguf")]
        parts = [path for path in candidates if _FIRST_PART.search(path)]
        chosen = parts if parts else candidates
        if len(chosen) != 1:
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name} has {len(chosen)} GGUF files of which one would have to be chosen."
                if chosen
                else f"Model {record.name} has no GGUF file, and the engine reads nothing else.",
                remedy="Choose one with include in llm_models.",
                files=[entry.path for entry in record.files][:50],
            )
        path = Path(record.folder) / chosen[0]
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name}: the file {path} is not GGUF (it starts with {magic!r}).",
            )
        return str(path)

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        del options, gpu
        if traits.format not in (None, GGUF):
            return f"it reads GGUF files only, and these are {traits.format}"
        return None

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        options = settings.options
        # Without a number, and with its own word for none, it leaves in RAM what the GPU has no room for.
        layers = int(options.get("n_gpu_layers", _AUTOMATIC))
        need = need_of(
            traits,
            context=settings.context_length,
            parallel=int(options.get("parallel") or 1),
            share=gpu_share(traits.layers, layers, gpu=room.gpu),
        )
        return fit(need, room, spills=layers == _AUTOMATIC)

    def health(self, endpoint: Endpoint) -> Health:
        status, body = get_json(f"{endpoint.url}/health", timeout=_LOOK)
        if status == 503:
            return Health(LOADING)
        if status != 200:
            return unwell(status, str(body))
        return Health(SLEEPING if self._props(endpoint).get("is_sleeping") is True else READY)

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        del settings
        names: list[str] = []
        for entry in openai.list_models(endpoint, timeout=_LOOK):
            aliases = entry.get("aliases")
            names += [str(name) for name in (entry.get("id"), *(aliases if isinstance(aliases, list) else ()))]
        props = self._props(endpoint)
        path, defaults = props.get("model_path"), props.get("default_generation_settings")
        context = defaults.get("n_ctx") if isinstance(defaults, dict) else None
        told = isinstance(path, str) and isinstance(context, int)
        return Served(
            tuple(dict.fromkeys(names)),
            path if isinstance(path, str) else None,
            context if isinstance(context, int) else None,
            faults=() if told else ("it does not tell which model it has loaded",),
        )

    def in_flight(self, endpoint: Endpoint) -> int | None:
        status, slots = get_json(f"{endpoint.url}/slots", headers=openai.authorization(endpoint), timeout=_LOOK)
        if status != 200 or not isinstance(slots, list):
            return None
        return sum(slot.get("is_processing") is True for slot in slots if isinstance(slot, dict))

    def check_sleep(self, settings: Settings) -> None:
        if int(settings.options.get("sleep_idle_seconds") or 0) <= 0:
            raise LlmError(
                "unsupported",
                "llama-server sleeps by itself only, and was not told when to.",
                remedy="Set the option sleep_idle_seconds of the runtime, or use state: stopped.",
            )

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        # It goes to sleep by itself, when nothing was asked of it for so long.
        del endpoint, level
        self.check_sleep(settings)

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        self.complete(endpoint, settings.served_names[0], "Wake up.", max_tokens=1, timeout=_WAKE)

    def _props(self, endpoint: Endpoint) -> dict[str, t.Any]:
        """What the server says of itself; empty where it does not, or wants another key."""
        status, props = get_json(f"{endpoint.url}/props", headers=openai.authorization(endpoint), timeout=_LOOK)
        return props if status == 200 and isinstance(props, dict) else {}
