# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that a runtime gives to models which its engine keeps: there while they are needed, gone afterwards."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from contract.runtimes import GOOD, OTHER, Host, InOllama, Resident, Run
from contract.test_runtimes import failure, host_of
from reciter import sentence_of


@pytest.fixture
def host(request: pytest.FixtureRequest, prefix: Path, free_port: int, run_module: Run) -> t.Iterator[Host]:
    with host_of(request.param, prefix, free_port, run_module) as made:
        yield made


both = pytest.mark.parametrize("host", ["ollama", "ollama, external"], indirect=True)
ours = pytest.mark.parametrize("host", ["docker_model_runner", "ollama"], indirect=True)


def kept(host: InOllama) -> list[str]:
    """The bytes that have a name for nothing but a rollback."""
    root = host.kept / "manifests"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("kept-for-*/*"))


def move(host: InOllama) -> None:
    """The model's name gets other bytes, as a user asks for it."""
    host.publish(GOOD, "moved")
    host.bring(good=host.offer(GOOD, f"http://127.0.0.1:{host.port}", refresh=True))


@ours
def test_one_that_is_stopped_and_removed_leaves_no_name(host: Resident) -> None:
    host.runtime(**host.first)
    host.runtime(state="stopped")
    removed = host.runtime(state="absent")
    assert not failure(removed)
    assert "notes" not in removed
    assert not host.called() & set(host.names)
    assert (host.has(GOOD), host.has(OTHER)) == (True, True)


@ours
def test_one_that_runs_no_more_is_removed_and_its_names_are_told(host: Resident) -> None:
    host.runtime(**host.first)
    host.runtime(state="stopped")
    for program in (host.prefix / f"opt/llm/engines/{host.engine}/1/bin").iterdir():
        program.unlink()
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
    removed = host.runtime(state="absent", start_timeout=1.0)
    assert (removed["changed"], len(removed["notes"])) == (True, 1), removed
    assert "chat, gpt" in removed["notes"][0]
    assert not (host.prefix / "var/lib/llm/runtimes/chat").exists()


@both
def test_a_rollback_finds_the_bytes_of_before_though_their_name_has_moved(host: InOllama) -> None:
    host.runtime(**host.first)
    move(host)
    assert host.runtime()["reply"] == sentence_of("moved")
    back = host.runtime(state="rolled_back")
    assert (failure(back), back.get("reply")) == ("", sentence_of(GOOD))
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    assert host.runtime(state="rolled_back")["changed"] is False
    assert host.runtime(state="rolled_back", generation=2)["reply"] == sentence_of("moved")


@both
def test_bytes_of_a_model_that_served_before_outlive_its_update(host: InOllama) -> None:
    host.runtime(**host.first)
    host.runtime(model=OTHER)
    move(host)
    back = host.runtime(state="rolled_back")
    assert (failure(back), back.get("reply")) == ("", sentence_of(GOOD))


@both
def test_a_model_that_is_served_by_its_own_name_comes_back_too(host: InOllama) -> None:
    own = f"{host.registry.place}/acme/{GOOD}"
    host.names = (own,)
    host.runtime(**host.first)
    move(host)
    assert host.runtime()["reply"] == sentence_of("moved")
    back = host.runtime(state="rolled_back")
    assert (failure(back), back.get("reply")) == ("", sentence_of(GOOD))
    assert host.runtime(state="rolled_back", generation=2)["reply"] == sentence_of("moved")


@both
def test_only_bytes_of_kept_generations_are_kept(host: InOllama) -> None:
    host.runtime(**host.first, keep_generations=2)
    assert len(kept(host)) == 1
    move(host)
    host.runtime()
    assert len(kept(host)) == 2
    host.runtime(model=OTHER)
    before = set((host.kept / "blobs").iterdir())
    host.runtime(served_names=["chat"])
    # Generations 1 and 2 are gone, and with them what only they had.
    assert len(kept(host)) == 1
    host.runtime(state="absent")
    assert kept(host) == []
    assert (host.has(GOOD), host.has(OTHER)) == (True, True)
    assert set((host.kept / "blobs").iterdir()) <= before


@both
def test_a_model_that_is_removed_is_gone_whatever_a_rollback_wants(host: InOllama) -> None:
    host.runtime(**host.first)
    host.runtime(model=OTHER)
    offer = host.offer(GOOD, f"http://127.0.0.1:{host.port}")
    removed = host.run("llm_model", prefix=str(host.prefix), state="absent", models=[{"name": GOOD, **offer}])
    assert not failure(removed)
    assert len(kept(host)) == 1
    assert host.runtime(state="rolled_back")["reason"] == "model_missing"
    assert host.answers() == dict.fromkeys(host.names, OTHER)
