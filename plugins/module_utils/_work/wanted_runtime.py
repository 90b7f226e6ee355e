# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime is to be: its next generation, and the files that make it so."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass

from .._core.clock import written
from .._core.engine import Engine, Settings
from .._core.environment_file import render
from .._core.errors import LlmError
from .._core.generation import NO_MODEL, TRYING, Generation, ModelIdentity
from .._core.layout import Layout
from .._core.model import InstalledModel
from .._core.runtime import RuntimeSpec
from .._engines.registry import engine_named
from .._host.configuration import Configuration
from .._host.generations import active_generations
from .._host.keeper import parse_environment
from .._host.ownership import owner_of
from .._host.process import definition_text
from .._host.store import Store
from .runtime_place import RuntimePlace, configuration_of, place_of

_SECRETS_HEADING = "Written by llmops.fleet. Secrets of this runtime; changes by hand are lost."


@dataclass(frozen=True)
class Wanted:
    """What is to be: the spec, its generation (not yet numbered as active) and the files that make it so.

    `record` is the model as the store has it; None where there is none, or it is not in the manifest any more.
    """

    spec: RuntimeSpec
    candidate: Generation
    files: Configuration
    record: InstalledModel | None = None


def want(
    spec: RuntimeSpec,
    engine: Engine,
    params: t.Mapping[str, t.Any],
    place: RuntimePlace,
    store: Store,
    active: Generation | None,
) -> Wanted:
    """What is to be, from the spec, the store and the installed engine; only reads.

    Raises `model_missing`, `model_unsuitable` or `engine_missing` before anything is touched.
    """
    subject = f"Runtime {spec.name}"
    identity, model = NO_MODEL, None
    if spec.model:
        model = _model(spec, store)
        try:
            identity = _identity(model, engine.model_path(model))
        except LlmError as failure:
            raise failure.about(subject) from None
    folder = f"{place.layout.engines}/{spec.engine}/{spec.engine_version}"
    if place.supervisor.name != "external" and not os.access(f"{folder}/{engine.executable}", os.X_OK):
        raise LlmError("engine_missing", f"{subject}: the engine's program {folder}/{engine.executable} is not there.")
    settings = Settings(identity.path, spec.served_names, spec.host, spec.port, spec.context_length, spec.options)
    variables = {**engine.environment(settings), **spec.environment}
    definition = _definition(spec, engine, params, place, active)
    candidate = Generation(
        number=place.generations.next_number(),
        runtime=spec.name,
        time=written(time.time()),
        status=TRYING,
        engine=spec.engine,
        engine_version=spec.engine_version,
        model=identity,
        served_names=spec.served_names,
        spec=spec.as_dict(),
        environment=variables,
        definition=definition,
    )
    files = configuration_of(candidate, place.layout, secrets_of(engine, params, place))
    return Wanted(spec, candidate, files, model)


def _model(spec: RuntimeSpec, store: Store) -> InstalledModel:
    manifest = store.manifest()
    model = manifest.models.get(spec.model)
    if model is None:
        have = ", ".join(sorted(manifest.models)) or "none"
        raise LlmError(
            "model_missing",
            f"Runtime {spec.name}: the model {spec.model} is not in the store {store.path} (it has: {have}).",
        )
    # What another program keeps is its own to miss.
    if model.root and not store.intact(model):
        raise LlmError(
            "model_missing",
            f"Runtime {spec.name}: files of the model {spec.model} are missing or not whole in {model.folder}.",
            remedy="Pull the model again.",
        )
    return model


def _definition(
    spec: RuntimeSpec,
    engine: Engine,
    params: t.Mapping[str, t.Any],
    place: RuntimePlace,
    active: Generation | None,
) -> str:
    if place.supervisor.name == "external":
        return "Somebody else runs this; it is only watched, and told what to load.\n"
    if place.supervisor.name == "systemd":
        text = params.get("unit") or _unit_of(active, spec, place)
        if not text:
            raise LlmError(
                "invalid_input",
                f"Runtime {spec.name}: the supervisor systemd needs the text of a unit, and none was given.",
                remedy="Use the role llm_service, or pass unit.",
            )
        return text if text.endswith("\n") else text + "\n"
    executable = f"{place.layout.engine_link(spec.name)}/{engine.executable}"
    service = owner_of(place.layout.user)
    return definition_text(
        command=engine.command(executable, spec.options, spec.extra_args),
        layout=place.layout,
        runtime=spec.name,
        user=place.layout.user if service.uid is not None else None,
        stop_timeout=spec.stop_timeout,
    )


def _unit_of(active: Generation | None, spec: RuntimeSpec, place: RuntimePlace) -> str | None:
    """The unit of the generation that serves, if it is one for the same engine."""
    if active is None or active.engine != spec.engine or place_of(active, place.layout).supervisor.name != "systemd":
        return None
    return active.definition


def secrets_of(engine: Engine, params: t.Mapping[str, t.Any], place: RuntimePlace) -> str | None:
    """The secrets file as it is to be; what was not said of key and of other secrets stays as it is."""
    api_key, more = params.get("api_key"), params.get("secrets")
    if api_key and not engine.api_key_variable:
        raise LlmError(
            "invalid_input",
            f"Runtime {place.name}: api_key was given, and the engine {engine.name} asks for none.",
            remedy="Leave api_key out, and let a gateway that asks for one stand in front.",
        )
    now = place.files.read().secrets
    known = parse_environment(now or "")
    # Another engine takes the same key under another name; one that asks for none leaves it for the next.
    held = {name: known.pop(name) for name in _key_variables(engine, place) if name in known}
    if api_key is None and more is None and (not held or engine.api_key_variable in ("", *held)):
        return now
    if engine.api_key_variable:
        key = next(iter(held.values()), "") if api_key is None else api_key
        held = {engine.api_key_variable: key} if key else {}
    variables = {**(known if more is None else {name: str(value) for name, value in more.items()}), **held}
    return render(variables, _SECRETS_HEADING) if variables else None


def _key_variables(engine: Engine, place: RuntimePlace) -> list[str]:
    """The variables that have the runtime's key: the engine's own, then those of the engines before it."""
    engines = [engine, *(engine_named(each.engine) for each in place.generations.all())]
    return [variable for variable in dict.fromkeys(each.api_key_variable for each in engines) if variable]


def api_key_in(secrets: str | None, engine: Engine) -> str:
    return parse_environment(secrets or "").get(engine.api_key_variable, "")


def check_served_names(spec: RuntimeSpec, engine: Engine, layout: Layout, store: Store) -> None:
    """A name is unique on a host: among its runtimes, and among the models of a program that keeps them itself."""
    for other in active_generations(layout):
        taken = sorted(set(other.served_names) & set(spec.served_names))
        if other.runtime != spec.name and taken:
            raise LlmError(
                "served_name_taken",
                f"Runtime {spec.name}: the served name {taken[0]} belongs to runtime {other.runtime}.",
            )
    for record in store.manifest().models.values() if engine.resident else ():
        # Giving the name to other bytes would take it from a model that somebody pulled under it.
        named = {record.model, record.model.rpartition(":latest")[0]} & set(spec.served_names)
        if record.provider == engine.name and record.name != spec.model and named:
            raise LlmError(
                "served_name_taken",
                f"Runtime {spec.name}: the served name {min(named)} is that of the model {record.name}.",
            )


def _identity(model: InstalledModel, path: str) -> ModelIdentity:
    return ModelIdentity(
        name=model.name,
        provider=model.provider,
        model=model.model,
        revision=model.revision,
        sha256=model.sha256,
        folder=model.folder,
        path=path,
        size_bytes=model.size,
    )
