# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's description of one host, held against itself before anything is changed."""

from __future__ import annotations

import typing as t
from collections import Counter

from .errors import LlmError
from .reference import check_name
from .runtime import (
    ACCELERATORS,
    FITS,
    ON_DRAIN_TIMEOUT,
    ON_STRANGER,
    PROOFS,
    SUPERVISORS,
    check_options,
    check_runtime_name,
    complete,
    is_loopback,
)

MODEL_KEYS = {
    "name", "source", "model", "revision", "include", "exclude", "quantization", "path", "from_controller", "placement", "url", "mirrors",
    "checksum_url", "sha256", "allow_large", "pinned", "capabilities", "refresh", "verify", "transfer", "insecure",
    "create", "models_path", "executable", "endpoint", "token", "username", "password",
}  # fmt: skip
RUNTIME_KEYS = {
    "name", "engine", "engine_version", "model", "initial_model", "served_names", "host", "port", "context_length",
    "options", "extra_args", "environment", "secrets", "api_key", "allow_unauthenticated", "proof", "supervisor",
    "state", "memory_max", "gpu", "start_timeout", "proof_timeout", "stop_timeout", "golden", "accelerator",
    "min_tokens_per_second", "fit", "drain_timeout", "on_drain_timeout", "exclusive", "keep_generations",
    "thresholds", "on_stranger",
}  # fmt: skip
_STORE_KEYS = {"path", "max_disk_gb", "max_model_gb", "max_mb_per_second", "evict"}

_CHOICES = {
    "proof": PROOFS, "supervisor": SUPERVISORS, "accelerator": ACCELERATORS, "fit": FITS,
    "on_drain_timeout": ON_DRAIN_TIMEOUT, "on_stranger": ON_STRANGER,
}  # fmt: skip

PROFILES = ("full", "light", "llm_off")

Record = t.Mapping[str, t.Any]


def problems(
    description: Record,
    *,
    check_model: t.Callable[[Record], object],
    default_ports: t.Mapping[str, int],
    option_types: t.Mapping[str, t.Mapping[str, str]],
) -> list[str]:
    """Every problem as one sentence; an empty list means that the roles can begin.

    `check_model` raises the error of a model that cannot be asked for like that.
    """
    models = description.get("models") or []
    extra = description.get("models_extra") or []
    runtimes = description.get("runtimes") or []
    found = _shape(models, "llm_models") + _shape(extra, "llm_models_extra") + _shape(runtimes, "llm_runtimes")
    if found:
        return found
    for records, place in ((models, "llm_models"), (extra, "llm_models_extra")):
        found += _doubles(
            [str(model["name"]) for model in records], f"The model name '{{0}}' is used {{1}} times in {place}."
        )
    models = merged(models, extra)
    store = description.get("store") or {}
    if isinstance(store, t.Mapping):
        found += _unknown_keys(store, _STORE_KEYS, "llm_store")
    else:
        found.append(f"llm_store must be a record with {', '.join(sorted(_STORE_KEYS))}, not {store!r}.")
    profile = description.get("profile") or PROFILES[0]
    if profile not in PROFILES:
        found.append(f"llm_profile '{profile}' is unknown; use one of {', '.join(PROFILES)}.")
    found += _doubles(
        [str(runtime.get("name")) for runtime in runtimes], "The runtime name '{0}' is used {1} times in llm_runtimes."
    )
    for model in models:
        found += _model_problems(model, check_model)
    names = {str(model.get("name")) for model in models}
    for runtime in runtimes:
        found += _runtime_problems(runtime, names, default_ports, option_types)
    ports = [runtime.get("port") or default_ports.get(str(runtime.get("engine"))) for runtime in runtimes]
    found += _doubles([str(port) for port in ports if port], "Port {0} is used by {1} runtimes of one host.")
    served = [str(name) for runtime in runtimes for name in runtime.get("served_names") or [runtime.get("name")]]
    found += _doubles(served, "The served name '{0}' is used {1} times on one host.")
    return found


def merged(records: t.Iterable[Record], extra: t.Iterable[Record]) -> list[dict[str, t.Any]]:
    """`records` with those of `extra` put over them by `name`; new names come last, order is kept."""
    found: dict[str, dict[str, t.Any]] = {}
    for record in [*records, *extra]:
        found.setdefault(record["name"], {}).update(record)
    return list(found.values())


def _shape(records: t.Any, place: str) -> list[str]:
    if not isinstance(records, (list, tuple)):
        return [f"{place} must be a list of records."]
    return [f"{place} has an entry that is not a record with a name: {record!r}." for record in records
            if not isinstance(record, t.Mapping) or not record.get("name")]  # fmt: skip


def _unknown_keys(record: Record, known: t.Collection[str], place: str) -> list[str]:
    return [
        f"{place} has the unknown key '{key}'; known are {', '.join(sorted(known))}."
        for key in sorted(set(map(str, record)) - set(known))
    ]


def _doubles(values: t.Sequence[str], sentence: str) -> list[str]:
    return [sentence.format(value, count) for value, count in Counter(values).items() if count > 1]


def _model_problems(model: Record, check_model: t.Callable[[Record], object]) -> list[str]:
    found = _unknown_keys(model, MODEL_KEYS, f"Model {model['name']} in llm_models")
    try:
        check_model(model)
    except LlmError as failure:
        found.append(str(failure))
    return found


def _runtime_problems(
    runtime: Record,
    models: t.Container[str],
    default_ports: t.Mapping[str, int],
    option_types: t.Mapping[str, t.Mapping[str, str]],
) -> list[str]:
    place = f"Runtime {runtime['name']} in llm_runtimes"
    found = _unknown_keys(runtime, RUNTIME_KEYS, place)
    engine = str(runtime.get("engine"))
    if engine not in default_ports:
        return [*found, f"{place}: the engine '{engine}' is unknown; use one of {', '.join(sorted(default_ports))}."]
    for key in ("model", "initial_model"):
        if runtime.get(key) and runtime[key] not in models:
            found.append(f"{place}: its {key} '{runtime[key]}' is not in llm_models.")
    for key, allowed in _CHOICES.items():
        if runtime.get(key) and runtime[key] not in allowed:
            found.append(f"{place}: {key} '{runtime[key]}' is unknown; use one of {', '.join(allowed)}.")
    host = str(runtime.get("host") or "127.0.0.1")
    if not is_loopback(host) and not runtime.get("api_key") and not runtime.get("allow_unauthenticated"):
        found.append(f"{place}: it would listen on {host} without api_key; set one, or allow_unauthenticated: true.")
    try:
        check_runtime_name(str(runtime["name"]))
        # What a host remembers is not known here: stand-ins for the two values that may come from there.
        known = {"engine_version": "-", "model": "-", **{key: value for key, value in runtime.items() if value}}
        check_options(complete(str(runtime["name"]), known, None, default_ports[engine]), option_types[engine])
        for name in runtime.get("served_names") or ():
            check_name(str(name), f"{place}: served name")
    except LlmError as failure:
        found.append(str(failure))
    except (TypeError, ValueError) as failure:
        found.append(f"{place}: a value has the wrong type: {failure}.")
    return found
