# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime is to be: asked options over those of the generation that serves."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import asdict, dataclass, field

from .errors import LlmError
from .reference import check_name

PROOFS = ("facts", "tokens", "golden", "none")
ACCELERATORS = ("any", "gpu", "cpu")
FITS = ("enforce", "warn", "off")
ON_DRAIN_TIMEOUT = ("proceed", "fail")
ON_STRANGER = ("fail", "adopt", "evict")
# Seconds between SIGTERM and SIGKILL where nothing is said.
STOP_TIMEOUT = 2
# Where it listens when nothing is said.
HOST = "127.0.0.1"
# Seconds that requests in flight are waited for.
DRAIN_TIMEOUT = 30.0
# Generations that a rollback may return to.
KEEP_GENERATIONS = 3
# Options that mean something to one engine only.
OF_ONE_ENGINE = ("engine_version", "options", "extra_args")
SUPERVISORS = ("auto", "systemd", "process", "external")
# Above these a runtime that serves is degraded: shares of the host's memory in percent, restarts since it was started.
THRESHOLDS = {"memory_percent": 85.0, "vram_percent": 85.0, "restarts": 3.0, "proof_age_hours": 0.0}


@dataclass(frozen=True)
class RuntimeSpec:
    """One runtime as it is to run.

    `context_length` is what one request may use, in tokens; times are in seconds. `golden` has prompts with the
    replies that are right. A `proof_age_hours` of 0 is no threshold.
    """

    name: str
    engine: str
    engine_version: str
    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    context_length: int
    options: t.Mapping[str, t.Any] = field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    environment: t.Mapping[str, str] = field(default_factory=dict)
    proof: str = "tokens"
    supervisor: str = "process"
    allow_unauthenticated: bool = False
    stop_timeout: int = STOP_TIMEOUT
    golden: tuple[t.Mapping[str, str], ...] = ()
    accelerator: str = "any"
    min_tokens_per_second: float = 0.0
    fit: str = "enforce"
    exclusive: bool = False
    drain_timeout: float = DRAIN_TIMEOUT
    on_drain_timeout: str = "proceed"
    keep_generations: int = KEEP_GENERATIONS
    thresholds: t.Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            **asdict(self),
            "served_names": list(self.served_names),
            "extra_args": list(self.extra_args),
            "golden": [dict(pair) for pair in self.golden],
        }


def complete(
    name: str,
    asked: t.Mapping[str, t.Any],
    remembered: t.Mapping[str, t.Any] | None,
    default_port: int,
    *,
    resident: bool = False,
) -> RuntimeSpec:
    """Fill what was not asked from what is remembered, then from defaults; raises a clear error for the rest.

    A `resident` engine may be up without a model, and one that somebody else installed and runs has no version. What
    is remembered of another engine is not taken over where it means that engine alone.
    """
    last = dict(remembered or {})
    if asked.get("engine") not in (None, last.get("engine")):
        last = {key: value for key, value in last.items() if key not in OF_ONE_ENGINE}
    elif asked.get("supervisor") not in (None, last.get("supervisor")) and "external" in (
        asked["supervisor"],
        last.get("supervisor"),
    ):
        # Somebody else's program has no version of ours.
        last.pop("engine_version", None)

    def pick(key: str, default: t.Any = None) -> t.Any:
        value = asked.get(key)
        value = last.get(key) if value is None else value
        return default if value is None else value

    model = str(pick("model") or asked.get("initial_model") or "")
    supervisor = pick("supervisor", "auto")
    version = pick("engine_version") or ("" if supervisor != "external" else "external")
    for key, value, needed in (("engine_version", version, True), ("model", model, not resident)):
        if needed and not value:
            raise LlmError(
                "runtime_missing" if remembered is None else "invalid_input",
                f"Runtime {name}: {key} was not given and there is no earlier generation to take it from.",
                remedy=f"Pass {key}.",
            )
    if model:
        check_name(model, f"Runtime {name}: model")
    served_names = tuple(pick("served_names") or (name,))
    for served in served_names:
        check_name(served, f"Runtime {name}: served name")
    spec = RuntimeSpec(
        name=name,
        engine=pick("engine"),
        engine_version=version,
        model=model,
        served_names=served_names,
        host=pick("host", HOST),
        port=int(pick("port", default_port)),
        context_length=int(pick("context_length", 4096)),
        options=dict(pick("options", {})),
        extra_args=tuple(str(word) for word in pick("extra_args", ())),
        environment={key: str(value) for key, value in dict(pick("environment", {})).items()},
        proof=pick("proof", "tokens"),
        supervisor=supervisor,
        allow_unauthenticated=bool(pick("allow_unauthenticated", False)),
        stop_timeout=int(pick("stop_timeout", STOP_TIMEOUT)),
        golden=tuple(_golden(pair, name) for pair in pick("golden", ())),
        accelerator=pick("accelerator", "any"),
        min_tokens_per_second=float(pick("min_tokens_per_second", 0.0)),
        fit=pick("fit", "enforce"),
        exclusive=bool(pick("exclusive", False)),
        drain_timeout=float(pick("drain_timeout", DRAIN_TIMEOUT)),
        on_drain_timeout=pick("on_drain_timeout", "proceed"),
        keep_generations=int(pick("keep_generations", KEEP_GENERATIONS)),
        thresholds=_thresholds(dict(pick("thresholds", {})), name),
    )
    if spec.keep_generations < 1:
        raise LlmError("invalid_input", f"Runtime {name}: keep_generations {spec.keep_generations} is below 1.")
    if not 0 < spec.port < 65536:
        raise LlmError("invalid_input", f"Runtime {name}: port {spec.port} is not between 1 and 65535.")
    if spec.context_length <= 0:
        raise LlmError("invalid_input", f"Runtime {name}: context_length {spec.context_length} is not above 0.")
    return spec


def _golden(pair: t.Any, name: str) -> dict[str, str]:
    if not isinstance(pair, dict) or not pair.get("prompt") or set(pair) - {"prompt", "reply"}:
        raise LlmError(
            "invalid_input",
            f"Runtime {name}: an entry of golden is {str(pair)[:80]!r}.",
            remedy="Give each a prompt, and a reply if it is known.",
        )
    return {key: str(value) for key, value in pair.items() if value is not None}


def _thresholds(given: t.Mapping[str, t.Any], name: str) -> dict[str, float]:
    for key, value in given.items():
        if key not in THRESHOLDS or not _fits(value, "float") or float(value) < 0:
            raise LlmError(
                "invalid_input",
                f"Runtime {name}: the threshold {key} is {str(value)[:40]!r}.",
                remedy=f"Give numbers from 0 for {', '.join(sorted(THRESHOLDS))}.",
            )
    return {**THRESHOLDS, **{key: float(value) for key, value in given.items()}}


def check_runtime_name(name: str) -> str:
    """A runtime's name becomes part of file and unit names, so it has no slash, dot or colon."""
    if (
        not name
        or len(name) > 64
        or not all(letter.isalnum() or letter in "-_" for letter in name)
        or not name.isascii()
    ):
        raise LlmError(
            "invalid_name",
            f"The runtime name '{name[:60]}' is refused.",
            remedy="Use up to 64 letters, digits, - and _.",
        )
    return name


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(spec: RuntimeSpec, *, has_key: bool, everywhere: bool = False) -> None:
    """`everywhere`: the program listens on every address, whatever it is told, and knows no key."""
    if everywhere and not spec.allow_unauthenticated:
        raise LlmError("exposed", f"Runtime {spec.name} would listen on every address without a key.")
    if not is_loopback(spec.host) and not has_key and not spec.allow_unauthenticated:
        raise LlmError("exposed", f"Runtime {spec.name} would listen on {spec.host}:{spec.port} without a key.")


def check_options(spec: RuntimeSpec, types: t.Mapping[str, str]) -> None:
    """Hold engine options against the engine's own table of names and types (`int`, `bool`, `str`, `float`)."""
    for key, value in spec.options.items():
        if key not in types:
            raise LlmError(
                "invalid_input",
                f"Runtime {spec.name}: the engine {spec.engine} has no option '{key}'.",
                remedy=f"Use one of: {', '.join(sorted(types))}; or extra_args.",
            )
        if not _fits(value, types[key]):
            raise LlmError(
                "invalid_input", f"Runtime {spec.name}: option {key} is {value!r}, which is not of type {types[key]}."
            )


def _fits(value: t.Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool) or str(value).lower() in ("true", "false", "yes", "no")
    if kind == "int":
        return not isinstance(value, bool) and str(value).lstrip("-").isdigit()
    if kind == "float":
        try:
            float(value)
        except (TypeError, ValueError):
            return False
        return not isinstance(value, bool)
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def is_true(value: t.Any) -> bool:
    """A flag option's value, also where a template made a string of it."""
    return value is True or str(value).lower() in ("true", "yes")
