# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's OpenAI-compatible server, as the launcher of its role starts it."""

from __future__ import annotations

import re
import typing as t

from .._api import openai
from .._api.http_client import get_json, post_json
from .._core.engine import READY, SLEEPING, Endpoint, Health, Served, Settings
from .._core.errors import LlmError
from .._core.fit import Fit, element_bytes, fit, need_of
from .._core.model import InstalledModel
from .._core.room import Room
from .._core.runtime import is_loopback, is_true
from .._core.traits import GGUF, SAFETENSORS, Traits
from .single_model import SingleModel, unwell

# Seconds for a look at a server on the same host.
_LOOK = 5.0
# Weights are copied to the host's memory and back, or read from the disk again.
_SLEEP, _WAKE = 120.0, 600.0
_CONFIGURATIONS = ("config.json", "params.json")
_WEIGHTS = (".safetensors", ".bin")
# Its three processes without a model and its cache; 1.5 GB of 2.5 in the cgroup were not a cache of 1 GiB (measured).
_PROGRAM_BYTES = 1_500_000_000
# What it takes of a GPU unless it is told (vLLM 0.32, config/cache.py).
_USUAL_SHARE = 0.92
# What our own looks would fill the log with.
_LOOKS = "/health,/load,/metrics,/is_sleeping"
_IN_FLIGHT = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}\n]*\})? ([\d.e+]+)$", re.MULTILINE)
_DISCARDED = re.compile(r'^vllm:engine_sleep_state\{[^}]*sleep_state="discard_all"[^}]*\} 1(?:\.0)?$', re.MULTILINE)
# A CPU without AVX-512 has no kernel for them: the server starts, says that it is well, and dies of the first request.
_NOT_FOR_CPU = frozenset(("awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin", "bitsandbytes"))

_NO_MEMORY = "it ran out of memory"
_DAMAGED = "the model's weights are cut short or damaged: {0}"
# Lines of the server's log and what they mean (recorded: tests/fixtures/contracts/vllm/start_failures.json).
_MEANINGS = (
    (r"Address already in use", "port_in_use", "its port is taken"),
    (r"error: unrecognized arguments: (\S+)", "invalid_input", "it does not know the argument {0}"),
    (r"error: argument (--\S+): (.+)", "invalid_input", "it refuses the argument {0}: {1}"),
    (r"Repo id must be in the form .*: '(/[^']*)'", "path_missing", "the model's folder {0} is not there"),
    (r"Permission denied: '([^']*)'", "permission_denied", "it cannot open {0}"),
    (r"local directory specified: '([^']*)'", "model_unsuitable", "the model's folder {0} has no config.json"),
    (r"config file at '([^']*)' is not a valid JSON", "model_unsuitable", "the model's {0} is not JSON"),
    (r"Model architectures \['([^']*)'", "model_unsuitable", "it does not know the model architecture '{0}'"),
    (r"has model type `([^`]*)` but", "model_unsuitable", "it does not know the model type '{0}'"),
    (
        r"contains custom code which must be executed",
        "model_unsuitable",
        "the model brings code of its own, and the option trust_remote_code is not set",
    ),
    (r"Unknown quantization method: (\S+)\.", "model_unsuitable", "it does not know the quantization {0}"),
    (
        r"no attribute 'cpu_gemm_wna16'",
        "model_unsuitable",
        "it has no kernel for the model's quantization on this CPU",
    ),
    (
        r"max_model_len \((\d+)\) is greater than the derived max_model_len \([a-z_]*=?(\d+)",
        "invalid_input",
        "the model takes {1} tokens, and {0} were asked for",
    ),
    (
        r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed, .* memory \(([\d.]+) GiB",
        "out_of_memory",
        "{0} tokens need {1} GiB of cache, and {2} GiB are left for it",
    ),
    (r"No available memory for the cache blocks", "out_of_memory", "no memory is left for its cache"),
    (
        r"Free memory on device (\S+) \(([\d.]+)/([\d.]+) GiB\) on startup is less than desired",
        "out_of_memory",
        "{0} has {1} of {2} GiB free, less than gpu_memory_utilization asks for",
    ),
    (
        r"Available memory on node \d+ \(([\d.]+)/[\d.]+ GiB\).* less than requested memory for kv \(([\d.]+)",
        "out_of_memory",
        "its cache is to have {1} GiB, and {0} GiB are there",
    ),
    (r"(?:CUDA out of memory|OutOfMemoryError|DefaultCPUAllocator|annot allocate memory)", "out_of_memory", _NO_MEMORY),
    (
        r"(?:Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver)",
        "unsupported",
        "it finds no GPU",
    ),
    (r"Sleep mode is not supported on current platform", "unsupported", "it cannot sleep without a GPU"),
    (r"(\S+\.so[.\d]*): cannot open shared object", "system_library_missing", "the host has no shared library {0}"),
    (r"SafetensorError: Error while deserializing header: (.+)", "model_unsuitable", _DAMAGED),
    (r"Cannot find any model weights", "model_unsuitable", "the model has no weights that it reads"),
    (r"Couldn't instantiate the backend tokenizer", "model_unsuitable", "the model has no tokenizer that it reads"),
    (r"No usable temporary directory", "permission_denied", "it has no folder for temporary files"),
    (r"Value error, (.+?)(?: \[type=|$)", "start_failed", "it says: {0}"),
    (r"(?:Worker|EngineCore)\S* pid=\d+\) ERROR [^\]]*\] (\w+(?:Error|Exception): .+)", "start_failed", "it says: {0}"),
)


class Vllm(SingleModel):
    """Names of options are the server's own long option names, with `_` for `-`."""

    name = "vllm"
    executable = "bin/vllm-server"
    default_port = 8000
    api_key_variable = "VLLM_API_KEY"
    # torch and its libraries write kernels into memory and run them.
    write_execute_memory = True
    # ZeroMQ sets its threads' scheduling, and ends the process where that is refused.
    places_threads = True
    # Gloo, over which its workers talk, lists the host's network interfaces.
    reads_interfaces = True
    sleep_levels: tuple[int, ...] = (1, 2)
    meanings = _MEANINGS
    option_types: t.Mapping[str, str] = {
        "attention_backend": "str",
        "block_size": "int",
        "chat_template": "str",
        "cpu_offload_gb": "float",
        "dtype": "str",
        "enable_auto_tool_choice": "bool",
        "enable_chunked_prefill": "bool",
        "enable_expert_parallel": "bool",
        "enable_prefix_caching": "bool",
        "enable_sleep_mode": "bool",
        "enforce_eager": "bool",
        "generation_config": "str",
        "gpu_memory_utilization": "float",
        "kv_cache_dtype": "str",
        "kv_cache_memory_bytes": "int",
        "load_format": "str",
        "max_num_batched_tokens": "int",
        "max_num_seqs": "int",
        "pipeline_parallel_size": "int",
        "quantization": "str",
        "reasoning_parser": "str",
        "seed": "int",
        "tensor_parallel_size": "int",
        "tokenizer_mode": "str",
        "tool_call_parser": "str",
        "trust_remote_code": "bool",
    }

    def command(self, executable: str, options: t.Mapping[str, t.Any], extra_args: t.Sequence[str]) -> tuple[str, ...]:
        words = [executable, "--host", "${LLM_HOST}", "--port", "${LLM_PORT}"]
        words += ["--model", "${LLM_MODEL_PATH}", "--served-model-name", "${LLM_SERVED_NAMES}"]
        words += ["--max-model-len", "${LLM_CONTEXT_LENGTH}"]
        # Without it /load says 0 whatever is asked of it.
        words += ["--enable-server-load-tracking", "--disable-access-log-for-endpoints", _LOOKS]
        for option in sorted(options):
            flag = option.replace("_", "-")
            if self.option_types.get(option) != "bool":
                words += [f"--{flag}", f"${{LLM_{option.upper()}}}"]
            else:
                words.append(f"--{flag}" if is_true(options[option]) else f"--no-{flag}")
        return (*words, *extra_args)

    def environment(self, settings: Settings) -> dict[str, str]:
        variables = {
            "LLM_HOST": settings.host,
            "LLM_PORT": str(settings.port),
            "LLM_MODEL_PATH": settings.model_path,
            # The launcher makes a word of each.
            "LLM_SERVED_NAMES": ",".join(settings.served_names),
            "LLM_CONTEXT_LENGTH": str(settings.context_length),
            "VLLM_NO_USAGE_STATS": "1",
            # The model is on the disk: nothing is to be asked of a hub.
            "HF_HUB_OFFLINE": "1",
        }
        for option, value in settings.options.items():
            if self.option_types.get(option) != "bool":
                variables[f"LLM_{option.upper()}"] = str(value)
        if _may_sleep(settings):
            if not is_loopback(settings.host):
                raise LlmError(
                    "exposed",
                    f"With enable_sleep_mode vLLM lets anyone who reaches {settings.host}:{settings.port} run code in it, "
                    "whether there is a key or not.",
                    remedy="Listen on 127.0.0.1, or leave the option enable_sleep_mode out.",
                )
            variables["VLLM_SERVER_DEV_MODE"] = "1"
        return variables

    def model_path(self, record: InstalledModel) -> str:
        names = [entry.path for entry in record.files]
        lacks = [
            what
            for what, there in (
                ("config.json", any(name in _CONFIGURATIONS for name in names)),
                ("weights (*.safetensors)", any("/" not in name and name.endswith(_WEIGHTS) for name in names)),
            )
            if not there
        ]
        if lacks or not record.root:
            raise LlmError(
                "model_unsuitable",
                f"Model {record.name} has no {' and no '.join(lacks) or 'folder'}, and vLLM reads folders as transformers "
                "writes them.",
                remedy="Choose a repository in that format, and let include in llm_models take all of it.",
                files=names[:50],
            )
        return record.root

    def refusal(self, traits: Traits, options: t.Mapping[str, t.Any], *, gpu: bool) -> str | None:
        if traits.format == GGUF:
            return "it reads GGUF files only with a plugin, which is not installed"
        if traits.format not in (None, SAFETENSORS):
            return f"it reads safetensors, and these files are {traits.format}"
        quantization = str(options.get("quantization") or traits.quantization or "").lower()
        if not gpu and quantization in _NOT_FOR_CPU:
            return f"it needs a GPU for weights that are quantized with {quantization}"
        return None

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        options = settings.options
        reserved = options.get("kv_cache_memory_bytes")
        stages, ranks = int(options.get("pipeline_parallel_size") or 1), int(options.get("tensor_parallel_size") or 1)
        # Each stage has layers of its own, and each rank heads of its own, as far as there are so many; what is set
        # aside in bytes is for each card.
        parts = stages * (min(ranks, traits.kv_heads or ranks) if isinstance(traits.kv_heads, int) else ranks)
        # One request has to fit; what is asked besides waits.
        need = need_of(
            traits,
            context=settings.context_length,
            number_bytes=element_bytes(options.get("kv_cache_dtype")),
            share=1.0 if room.gpu else 0.0,
            program_bytes=_PROGRAM_BYTES,
            cache_bytes=int(reserved) if reserved else None,
            cards=stages * ranks,
            cache_parts=1 if reserved else parts,
        )
        share = float(options.get("gpu_memory_utilization") or _USUAL_SHARE)
        return fit(need, room, reserved_share=None if reserved else share)

    def health(self, endpoint: Endpoint) -> Health:
        # Until the model is loaded nothing listens; a server that sleeps is well.
        status, body = get_json(f"{endpoint.url}/health", timeout=_LOOK)
        if status != 200:
            said = "its engine is dead" if status == 503 else str(body)[:200]
            return unwell(status, said)
        # Only a server that may sleep knows this path.
        status, body = get_json(f"{endpoint.url}/is_sleeping", timeout=_LOOK)
        asleep = status == 200 and isinstance(body, dict) and body.get("is_sleeping") is True
        return Health(SLEEPING if asleep else READY)

    def served(self, endpoint: Endpoint, settings: Settings) -> Served:
        entries = openai.list_models(endpoint, timeout=_LOOK)
        main = next((entry for entry in entries if entry.get("id") == settings.served_names[0]), {})
        context = main.get("max_model_len")
        return Served(
            names=tuple(dict.fromkeys(str(entry.get("id")) for entry in entries)),
            model_path=main.get("root"),
            context_length=int(context) if context else None,
        )

    def in_flight(self, endpoint: Endpoint) -> int | None:
        status, body = get_json(f"{endpoint.url}/load", headers=openai.authorization(endpoint), timeout=_LOOK)
        load = body.get("server_load") if status == 200 and isinstance(body, dict) else None
        if isinstance(load, int) and load > 0:
            return load
        # It is 0 for ever in a server that was not told to count, as one that somebody else started.
        _status, metrics = get_json(f"{endpoint.url}/metrics", headers=openai.authorization(endpoint), timeout=_LOOK)
        counts = [float(count) for count in _IN_FLIGHT.findall(str(metrics))]
        return round(sum(counts)) if counts else None

    def check_sleep(self, settings: Settings) -> None:
        # Without the option it would say that it sleeps, and keep its memory.
        if not _may_sleep(settings):
            raise LlmError(
                "unsupported",
                "vLLM was not started so that it can sleep.",
                remedy="Set the option enable_sleep_mode of the runtime (GPUs only), or use state: stopped.",
            )

    def sleep(self, endpoint: Endpoint, settings: Settings, level: int) -> None:
        self.check_sleep(settings)
        self._order(endpoint, f"/sleep?level={level}", timeout=_SLEEP)

    def wake(self, endpoint: Endpoint, settings: Settings) -> None:
        del settings
        _status, metrics = get_json(f"{endpoint.url}/metrics", headers=openai.authorization(endpoint), timeout=_LOOK)
        if not _DISCARDED.search(str(metrics)):
            self._order(endpoint, "/wake_up", timeout=_WAKE)
            return
        # It has dropped its weights: their memory comes first, then they are read again, then the cache's memory.
        self._order(endpoint, "/wake_up?tags=weights", timeout=_WAKE)
        self._order(endpoint, "/collective_rpc", {"method": "reload_weights"}, timeout=_WAKE)
        self._order(endpoint, "/wake_up?tags=kv_cache", timeout=_WAKE)

    @staticmethod
    def _order(endpoint: Endpoint, path: str, body: t.Any = None, *, timeout: float) -> None:
        status, said = post_json(endpoint.url + path, body, headers=openai.authorization(endpoint), timeout=timeout)
        if status != 200:
            raise LlmError(
                "unreachable" if status == 0 else "unsupported",
                f"{endpoint.url}{path} answered {status or 'nothing'}.",
                said=str(said)[:500],
            )


def _may_sleep(settings: Settings) -> bool:
    return is_true(settings.options.get("enable_sleep_mode"))
