# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime is to be: asked options over those of the generation that serves."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import asdict, dataclass, field

from .errors import LlmError
from .reference import check_name

PROOFS = ("facts", "tokens", "none")
# Seconds between SIGTERM and SIGKILL where nothing is said.
STOP_TIMEOUT = 2
SUPERVISORS = ("auto", "systemd", "process")


@dataclass(frozen=True)
class RuntimeSpec:
    """One runtime as it is to run. `context_length` is what one request may use, in tokens."""

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

    def as_dict(self) -> dict[str, t.Any]:
        return {**asdict(self), "served_names": list(self.served_names), "extra_args": list(self.extra_args)}


def complete(
    name: str, asked: t.Mapping[str, t.Any], remembered: t.Mapping[str, t.Any] | None, default_port: int
) -> RuntimeSpec:
    """Fill what was not asked from what is remembered, then from defaults; raises a clear error for the rest."""
    last = remembered or {}

    def pick(key: str, default: t.Any = None) -> t.Any:
        value = asked.get(key)
        value = last.get(key) if value is None else value
        return default if value is None else value

    model = str(pick("model") or asked.get("initial_model") or "")
    for key, value in (("engine_version", pick("engine_version")), ("model", model)):
        if not value:
            raise LlmError(
                "runtime_missing" if remembered is None else "invalid_input",
                f"Runtime {name}: {key} was not given and there is no earlier generation to take it from.",
                remedy=f"Pass {key}.",
            )
    check_name(model, f"Runtime {name}: model")
    served_names = tuple(pick("served_names") or (name,))
    for served in served_names:
        check_name(served, f"Runtime {name}: served name")
    spec = RuntimeSpec(
        name=name,
        engine=pick("engine"),
        engine_version=pick("engine_version"),
        model=model,
        served_names=served_names,
        host=pick("host", "127.0.0.1"),
        port=int(pick("port", default_port)),
        context_length=int(pick("context_length", 4096)),
        options=dict(pick("options", {})),
        extra_args=tuple(str(word) for word in pick("extra_args", ())),
        environment={key: str(value) for key, value in dict(pick("environment", {})).items()},
        proof=pick("proof", "tokens"),
        supervisor=pick("supervisor", "auto"),
        allow_unauthenticated=bool(pick("allow_unauthenticated", False)),
        stop_timeout=int(pick("stop_timeout", STOP_TIMEOUT)),
    )
    if not 0 < spec.port < 65536:
        raise LlmError("invalid_input", f"Runtime {name}: port {spec.port} is not between 1 and 65535.")
    if spec.context_length <= 0:
        raise LlmError("invalid_input", f"Runtime {name}: context_length {spec.context_length} is not above 0.")
    return spec


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


def check_exposure(spec: RuntimeSpec, *, has_key: bool) -> None:
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
