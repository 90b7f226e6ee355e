# SPDX-License-Identifier: GPL-3.0-or-later
"""What every engine must know and say, run over each of them; how they serve is in test_runtimes.py."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.engine import Endpoint, Engine, Settings
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.room import Room
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import Traits
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import ENGINES
from ansible_collections.llmops.fleet.plugins.module_utils._host.keeper import expand
from contract.engines import OFFERS

SETTINGS = Settings("/m/a.gguf", ("chat",), "127.0.0.1", 8080, 256)
SAMPLES = {"int": 1, "float": 0.5, "bool": True, "str": "x"}


@pytest.fixture(params=sorted(OFFERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(name: str) -> Engine:
    return ENGINES[name]


def failure_of(act: t.Callable[[], t.Any]) -> LlmError:
    with pytest.raises(LlmError) as caught:
        act()
    return caught.value


def test_every_engine_is_under_the_contract() -> None:
    assert sorted(OFFERS) == sorted(ENGINES)


def test_it_says_what_it_is(name: str, engine: Engine) -> None:
    assert engine.name == name
    assert engine.executable.startswith("bin/")
    assert 0 < engine.default_port < 65536
    assert set(engine.option_types.values()) <= set(SAMPLES)
    assert engine.sleep_levels == tuple(sorted(set(engine.sleep_levels)))


def test_every_word_of_the_command_has_its_value(name: str, engine: Engine) -> None:
    options = {option: SAMPLES[kind] for option, kind in engine.option_types.items()}
    if not OFFERS[name].program:
        refused = failure_of(lambda: engine.command("/opt/x", options, []))
        assert (refused.reason, "external" in refused.remedy) == ("unsupported", True)
        return
    command = engine.command("/opt/x", options, ["--more", "$HOME"])
    settings = replace(SETTINGS, options=options)
    variables = engine.environment(settings)
    assert {word for text in command for word in re.findall(r"\$\{(\w+)\}", text)} <= set(variables)
    assert command[0] == "/opt/x"
    assert command[-2:] == ("--more", "$HOME")
    assert all(isinstance(value, str) for value in variables.values())
    words = expand(command[:-1], variables)
    assert any(str(settings.port) in text for text in (*words, *variables.values()))
    # One that stays up while models come and go is told of none.
    assert ("/m/a.gguf" in words) is not engine.resident


def test_the_command_stays_when_the_model_changes(name: str, engine: Engine) -> None:
    options = OFFERS[name].options
    variables = [
        engine.environment(replace(SETTINGS, model_path=path, served_names=(served,), digest=digest, options=options))
        for path, served, digest in (("/m/a.gguf", "chat", "d" * 64), ("/m/b.gguf", "gpt", "e" * 64))
    ]
    assert (variables[0] == variables[1]) is engine.resident
    if OFFERS[name].program:
        said = " ".join(engine.command("/opt/x", options, []))
        assert not {"/m/a.gguf", "chat", str(SETTINGS.port)} & set(said.split())


def test_more_names_than_it_can_serve_are_refused_before_anything_is_asked_of_it(name: str, engine: Engine) -> None:
    several = replace(SETTINGS, served_names=("chat", "gpt"))
    if OFFERS[name].names:
        engine.environment(several)
    else:
        refused = failure_of(lambda: engine.environment(several))
        assert "chat, gpt" in refused.what
        assert "served" in refused.remedy


def test_nobody_there_is_not_healthy(engine: Engine, free_port: int) -> None:
    endpoint = Endpoint("127.0.0.1", free_port)
    assert engine.health(endpoint).state == "refused"
    assert engine.in_flight(endpoint) is None
    assert failure_of(lambda: engine.served(endpoint, SETTINGS)).reason in ("unreachable", "proof_failed")
    asked = failure_of(lambda: engine.complete(endpoint, "chat", "Who?", max_tokens=4, timeout=2))
    assert asked.reason in ("unreachable", "proof_failed")


def test_its_log_is_understood(name: str, engine: Engine) -> None:
    for lines, reason in OFFERS[name].logs.items():
        meaning = engine.meaning(f"all is well\n{lines}\nand more")
        assert meaning is not None, lines
        assert meaning.reason == reason, lines
        assert meaning.sentence
        assert "{" not in meaning.sentence
    assert {"port_in_use", "model_unsuitable"} <= set(OFFERS[name].logs.values())
    assert engine.meaning("all is well") is None


def test_a_model_is_held_against_what_it_can_take_and_the_memory_there_is(engine: Engine) -> None:
    assert engine.refusal(Traits(), {}, gpu=False) is None
    if engine.name != "ollama":
        # Ollama itself took what it keeps.
        assert engine.refusal(Traits("onnx"), {}, gpu=True)
    large = Traits(weights_bytes=40_000_000_000)
    small = Traits(weights_bytes=2_000_000)
    room = Room(ram_total=8_000_000_000, ram_available=8_000_000_000)
    assert [engine.fit(traits, SETTINGS, room).fits for traits in (small, large)] == [True, False]


def test_it_sleeps_only_where_it_says_so(engine: Engine, free_port: int) -> None:
    endpoint = Endpoint("127.0.0.1", free_port)
    for act in (lambda: engine.sleep(endpoint, SETTINGS, 9), lambda: engine.wake(endpoint, SETTINGS)):
        assert failure_of(act).reason in ("unsupported", "unreachable", "proof_failed")
    if not engine.sleep_levels:
        assert failure_of(lambda: engine.sleep(endpoint, SETTINGS, 1)).reason == "unsupported"


def test_only_one_that_stays_up_loads_and_releases(engine: Engine, free_port: int) -> None:
    endpoint = Endpoint("127.0.0.1", free_port)
    expected = LlmError if engine.resident else ValueError
    with pytest.raises(expected):
        engine.load(endpoint, SETTINGS, 1.0)
    with pytest.raises(expected):
        engine.release(endpoint, SETTINGS, ())
