# SPDX-License-Identifier: GPL-3.0-or-later
"""What every engine must do, run over each of them."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import ENGINES
from ansible_collections.llmops.fleet.plugins.module_utils._host.keeper import expand
from contract.engines import OFFERS, RECORDED

Run = t.Callable[..., dict[str, t.Any]]
SETTINGS = Settings("/m/a.gguf", ("chat", "gpt"), "127.0.0.1", 8080, 256)


@pytest.fixture(params=sorted(OFFERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_engine_is_under_the_contract() -> None:
    assert sorted(OFFERS) == sorted(ENGINES)


def test_every_word_of_the_command_has_its_value(name: str) -> None:
    engine = ENGINES[name]
    samples = {"int": 1, "float": 0.5, "bool": True, "str": "x"}
    options = {option: samples[kind] for option, kind in engine.option_types.items()}
    command = engine.command("/opt/x", options, ["--more", "$HOME"])
    settings = Settings(SETTINGS.model_path, SETTINGS.served_names, SETTINGS.host, SETTINGS.port, 256, options)
    named = {word for text in command for word in re.findall(r"\$\{(\w+)\}", text)}
    variables = engine.environment(settings)
    assert named <= set(variables)
    assert command[0] == "/opt/x"
    assert command[-2:] == ("--more", "$HOME")
    assert all(isinstance(value, str) for value in variables.values())
    words = expand(command[:-1], variables)
    assert "/m/a.gguf" in words
    assert str(settings.port) in words


def test_the_command_stays_when_the_model_changes(name: str) -> None:
    assert "/m/a.gguf" not in " ".join(ENGINES[name].command("/opt/x", OFFERS[name].options, []))


def test_nobody_there_is_not_healthy(name: str, free_port: int) -> None:
    assert ENGINES[name].health(Endpoint("127.0.0.1", free_port)).state == "refused"


def test_its_log_is_understood(name: str) -> None:
    document = json.loads((RECORDED / name / "start_failures.json").read_text())
    cases = {case["case"]: "\n".join(case["lines_with_errors"]) for case in document["cases"]}
    assert sorted(cases) == sorted(OFFERS[name].logs)
    for case, reason in OFFERS[name].logs.items():
        meaning = ENGINES[name].meaning(cases[case])
        assert meaning is not None, case
        assert meaning.reason == reason, case
        assert meaning.sentence
    assert ENGINES[name].meaning("all is well") is None


def test_it_serves_is_switched_and_refuses(
    name: str, run_module: Run, prefix: Path, reciters: Path, free_port: int
) -> None:
    offer = OFFERS[name]
    models = [
        {"name": path, "source": "file", "path": str(reciters / path)}
        for path in (offer.good, offer.other, offer.unsuitable)
    ]
    run_module("llm_model", prefix=str(prefix), models=models)

    def runtime(**params: t.Any) -> dict[str, t.Any]:
        return run_module("llm_runtime", name="chat", prefix=str(prefix), supervisor="process", **params)

    try:
        first = runtime(
            engine=name,
            engine_version="1",
            model=offer.good,
            port=free_port,
            context_length=256,
            options=offer.options,
            served_names=["chat", "gpt"],
        )
        assert first["runtime"]["status"] == "online", first
        assert first["reply"]
        engine, endpoint = ENGINES[name], Endpoint("127.0.0.1", free_port)
        assert engine.health(endpoint).state == "ready"
        served = engine.served(endpoint, SETTINGS)
        assert {"chat", "gpt"} <= set(served.names)
        assert served.model_path in (None, first_path(prefix, offer.good))
        second = runtime(model=offer.other)
        assert second["reply"] != first["reply"]
        refused = runtime(model=offer.unsuitable)
        assert refused["reason"] == "model_unsuitable"
        assert runtime()["changed"] is False
    finally:
        assert runtime(state="absent")["changed"]


def first_path(prefix: Path, model: str) -> str:
    manifest = json.loads((prefix / "var/lib/llm/models/manifest.json").read_text())
    return next(str(record["local_path"]) for record in manifest["models"] if record["name"] == model)
