# SPDX-License-Identifier: GPL-3.0-or-later
"""How a runtime of every engine serves, is switched, dies, is lied about and sleeps, with `llm_runtime` itself."""

from __future__ import annotations

import contextlib
import signal
import typing as t
from pathlib import Path

import psutil
import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._engines.ollama import Ollama
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import ENGINES
from contract.runtimes import GOOD, HOSTS, OTHER, WRONG, Host, InOllama, Resident, Run, until
from reciter import sentence_of

# What users were promised of a status.
PROMISED = {
    "name", "engine", "status", "reasons", "model", "served_names", "context_length", "pid", "memory_mb", "vram_mb",
    "uptime_seconds", "restarts", "port", "supervisor", "unit", "generation", "last_model", "proof", "port_owner",
}  # fmt: skip


@contextlib.contextmanager
def host_of(kind: str, prefix: Path, port: int, run: Run) -> t.Iterator[Host]:
    with contextlib.ExitStack() as stack:
        made = HOSTS[kind](prefix, port, run, stack)
        try:
            yield made
        finally:
            made.runtime(state="absent")
        left = [process for process in psutil.process_iter(["cmdline"]) if _is_of(process, prefix)]
        for process in left:
            # Those that are somebody else's, and those that should not be here.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        assert not left or made.supervisor == "external", left


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest, prefix: Path, free_port: int, run_module: Run) -> t.Iterator[Host]:
    with host_of(request.param, prefix, free_port, run_module) as made:
        yield made


@pytest.fixture(params=["ollama", "ollama, external"])
def ollama(
    request: pytest.FixtureRequest, prefix: Path, free_port: int, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[InOllama]:
    monkeypatch.setattr(Ollama, "last_try", 0.6)
    with host_of(request.param, prefix, free_port, run_module) as made:
        assert isinstance(made, InOllama)
        yield made


def _is_of(process: psutil.Process, prefix: Path) -> bool:
    return str(prefix) in " ".join(process.info["cmdline"] or ())


def files(prefix: Path) -> set[tuple[str, int]]:
    """What is there, without the log that the engine itself goes on writing."""
    return {
        (str(path), path.lstat().st_mtime_ns)
        for path in prefix.rglob("*")
        if path.is_file() and "/log/" not in str(path) and path.suffix not in (".pyc", ".lock")
    }


def failure(result: dict[str, t.Any]) -> str:
    """What a task failed with; empty where it did not."""
    return str(result["msg"]) if result.get("failed") else ""


def alive(processes: t.Iterable[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_every_engine_serves() -> None:
    assert {made.engine for made in HOSTS.values()} == set(ENGINES)


def test_the_twelve_steps(host: Host) -> None:
    steps: list[tuple[dict[str, t.Any], bool]] = [
        (host.first, True),
        (host.first, False),
        ({"model": OTHER}, True),
        ({"model": OTHER}, False),
        ({"state": "stopped"}, True),
        ({"state": "stopped"}, False),
        ({"state": "started"}, True),
        ({"state": "started"}, False),
        ({"state": "restarted"}, True),
        ({}, False),
        ({"state": "absent"}, True),
        ({"state": "absent"}, False),
    ]
    for params, changes in steps:
        before = files(host.prefix), host.own()
        foreseen = host.runtime(check=True, **params)
        assert (files(host.prefix), host.own()) == before, "check mode changed something"
        real = host.runtime(**params)
        assert not failure(real)
        assert real["changed"] is changes, (params, real)
        assert (foreseen["changed"], foreseen.get("diff")) == (real["changed"], real.get("diff")), params
        if params.get("state") == "stopped":
            assert not host.members() or host.supervisor == "external"
        elif params.get("state") != "absent":
            expected = OTHER if params != host.first else GOOD
            assert host.answers() == dict.fromkeys(host.names, expected), params
    assert not (host.prefix / "var/lib/llm/runtimes/chat").exists()
    assert not list((host.prefix / "etc/llm/runtimes").iterdir())
    if isinstance(host, Resident):
        assert (host.has(GOOD), host.has(OTHER)) == (True, True)
        if host.supervisor == "external":
            assert not host.called() & set(host.names)


def test_it_is_switched_and_goes_back_and_refuses_what_it_cannot_serve(host: Host) -> None:
    first = host.runtime(**host.first)
    assert (first["reply"], first["generation"]) == (sentence_of(GOOD), 1), first
    second = host.runtime(model=OTHER)
    assert (second["reply"], second["generation"]) == (sentence_of(OTHER), 2), second
    assert (second["runtime"]["pid"] == first["runtime"]["pid"]) is ENGINES[host.engine].resident
    assert host.answers() == dict.fromkeys(host.names, OTHER)
    back = host.runtime(state="rolled_back")
    assert (back["reply"], back["generation"]) == (sentence_of(GOOD), 3), back
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    before = files(host.prefix), host.own(), host.status()["pid"]
    for check in (True, False):
        refused = host.runtime(model=WRONG, check=check)
        assert (refused["failed"], refused["reason"]) == (True, "model_unsuitable"), refused
        assert "Runtime chat" in refused["msg"]
        assert (files(host.prefix), host.own(), host.status()["pid"]) == before
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    assert host.runtime()["changed"] is False


def test_it_serves_as_many_names_as_it_can(host: Host) -> None:
    if len(host.names) == 1:
        for params in ({**host.first, "served_names": ["chat", "gpt"]}, {**host.first}):
            before = files(host.prefix), host.own()
            tried = host.runtime(**params)
            if len(params["served_names"]) == 1:
                assert host.answers() == {"chat": GOOD}
                break
            assert tried["failed"]
            assert "chat, gpt" in tried["msg"]
            assert (files(host.prefix), host.own()) == before
        return
    host.runtime(**host.first)
    renamed = host.runtime(served_names=["gpt", "third"])
    assert not failure(renamed)
    assert renamed["runtime"]["served_names"] == ["gpt", "third"]
    assert (host.says("gpt"), host.says("third")) == (GOOD, GOOD)
    if isinstance(host, Resident):
        assert host.called() & {"chat", "gpt", "third"} == {"gpt", "third"}


def test_its_status_has_all_that_was_promised(host: Host) -> None:
    activated = host.runtime(**host.first)["runtime"]
    status = host.status()
    assert set(status) >= PROMISED
    assert set(activated) <= set(status)
    assert (status["name"], status["engine"], status["status"], status["reasons"]) == (
        "chat",
        host.engine,
        "online",
        [],
    )
    assert (status["model"], status["last_model"], status["generation"]) == (GOOD, GOOD, 1)
    assert (status["served_names"], status["port"]) == (list(host.names), host.port)
    assert status["context_length"] == (256 if host.tells_context else None)
    assert (status["supervisor"], status["unit"], status["port_owner"]) == (host.supervisor, None, None)
    assert psutil.pid_exists(status["pid"])
    assert status["memory_mb"] >= 1
    assert (status["uptime_seconds"] >= 0, status["restarts"], status["vram_mb"]) == (True, 0, status["vram_mb"])
    proof = status["proof"]
    assert (proof["level"], proof["ok"]) == ("tokens", True)
    assert proof["at"]
    assert proof["tokens_per_second"] > 0
    host.runtime(state="stopped")
    stopped = host.status()
    assert set(stopped) >= PROMISED
    assert (stopped["status"], stopped["phase"]) == (
        ("degraded", "sleeping") if host.supervisor == "external" else ("offline", "stopped")
    )


def test_an_engine_that_dies_is_told_and_healed_and_leaves_nothing(host: Host) -> None:
    host.runtime(**host.first)
    members = host.members()
    members[0].send_signal(signal.SIGKILL)
    psutil.wait_procs(members[:1], timeout=5)
    status = host.status()
    assert status["status"] in ("offline", "degraded")
    assert status["reasons"]
    if host.supervisor == "external":
        refused = host.runtime()
        assert (refused["reason"], "not ours to start" in refused["msg"]) == ("supervisor_failed", True)
        host.come_back()
        assert host.status()["status"] == "degraded"
    else:
        # Its keeper has it back, with all that it left gone.
        until(lambda: host.status()["pid"], "its keeper did not start it again")
        assert not alive(members)
    healed = host.runtime()
    assert not failure(healed)
    assert healed["changed"] or host.supervisor == "process"
    assert healed["runtime"]["status"] == "online"
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    assert host.runtime()["changed"] is False


@pytest.mark.parametrize("host", [kind for kind in sorted(HOSTS) if HOSTS[kind].supervisor == "process"], indirect=True)
def test_an_engine_whose_keeper_dies_too_is_told_and_healed_and_leaves_nothing(host: Host) -> None:
    host.runtime(**host.first)
    members = host.members()
    keeper = members[0].parent()
    assert keeper is not None
    for process in (keeper, members[0]):
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs([keeper, members[0]], timeout=5)
    status = host.status()
    assert (status["status"], status["pid"]) == ("offline", None)
    assert "no process runs" in status["reasons"]
    healed = host.runtime()
    assert (healed["changed"], healed["runtime"]["status"]) == (True, "online"), healed
    assert not alive(members)
    assert host.answers() == dict.fromkeys(host.names, GOOD)


@pytest.mark.parametrize(
    ("host", "lie"), [(kind, lie) for kind in sorted(HOSTS) for lie in HOSTS[kind].lies], indirect=["host"]
)
def test_other_bytes_under_its_name_are_told_and_mended(host: Host, lie: str) -> None:
    host.runtime(**host.first)
    assert host.status()["status"] == "online"
    getattr(host, lie)()
    status = host.status()
    assert status["status"] == "degraded", status
    said = "; ".join(status["reasons"])
    assert all(words in said for words in host.lies[lie]), said
    foreseen = host.runtime(check=True)
    mended = host.runtime()
    assert not failure(mended)
    assert (foreseen["changed"], mended["changed"]) == (True, True)
    assert (mended["runtime"]["status"], mended["runtime"]["reasons"]) == ("online", [])
    assert host.answers() == dict.fromkeys(host.names, GOOD)
    assert host.runtime()["changed"] is False


def test_it_sleeps_and_wakes_where_it_can(host: Host) -> None:
    host.runtime(**host.first)
    levels = ENGINES[host.engine].sleep_levels
    refused = host.runtime(state="sleeping", sleep_level=9)
    assert refused["reason"] == "unsupported"
    if not levels:
        assert host.runtime(state="sleeping")["reason"] == "unsupported"
        return
    if host.sleeping:
        assert host.runtime(state="sleeping")["reason"] == "unsupported"
        host.runtime(**host.sleeping)
    for level in levels:
        before = files(host.prefix), host.own()
        foreseen = host.runtime(state="sleeping", sleep_level=level, check=True)
        assert (files(host.prefix), host.own()) == before
        slept = host.runtime(state="sleeping", sleep_level=level)
        assert not failure(slept)
        assert (foreseen["changed"], foreseen["diff"]) == (slept["changed"], slept["diff"])
        assert (slept["changed"], slept["runtime"]["phase"]) == (True, "sleeping")
        assert host.status()["reasons"] == ["it sleeps"]
        assert host.runtime(state="sleeping", sleep_level=level)["changed"] is False
        assert host.runtime(check=True)["changed"] is True
        woken = host.runtime()
        assert not failure(woken)
        assert (woken["changed"], woken["runtime"]["status"], woken["reply"]) == (True, "online", sentence_of(GOOD))
    assert host.answers() == dict.fromkeys(host.names, GOOD)


def test_one_that_stays_up_can_be_up_without_a_model(host: Host) -> None:
    bare = {**host.first, "model": None}
    tried = host.runtime(**bare)
    if not isinstance(host, Resident):
        assert tried["reason"] == "runtime_missing"
        assert "model" in tried["msg"]
        return
    assert not failure(tried)
    assert (tried["runtime"]["status"], tried["runtime"]["model"]) == ("online", None), tried
    assert host.runtime(**bare)["changed"] is False
    with_one = host.runtime(model=GOOD)
    assert (with_one["changed"], with_one["reply"]) == (True, sentence_of(GOOD)), with_one
    assert host.answers() == dict.fromkeys(host.names, GOOD)


# --- what bit with Ollama ---


def test_a_model_that_is_pulled_anew_behind_its_runtime_serves_when_that_is_asked(ollama: InOllama) -> None:
    """Its served names are names of their own: they go on meaning the bytes that were proven."""
    ollama.runtime(**ollama.first)
    ollama.publish(GOOD, "moved")
    ollama.pull_by_hand(GOOD)
    assert ollama.status()["status"] == "online"
    assert ollama.answers() == dict.fromkeys(ollama.names, GOOD)
    assert ollama.runtime()["changed"] is False
    ollama.bring(good=ollama.offer(GOOD, f"http://127.0.0.1:{ollama.port}", refresh=True))
    foreseen = ollama.runtime(check=True)
    moved = ollama.runtime()
    assert not failure(moved)
    assert (foreseen["changed"], foreseen["diff"]) == (moved["changed"], moved["diff"])
    assert moved["changed"]
    assert (moved["reply"], moved["generation"]) == (sentence_of("moved"), 2)
    assert ollama.answers() == dict.fromkeys(ollama.names, "moved")
    assert len(ollama.loaded()) == 1


def test_stale_weights_under_the_models_own_name_are_told_and_mended(ollama: InOllama) -> None:
    """Only the name that is kept for a rollback stands for them: it takes them out of memory, and brings nothing back."""
    own = f"{ollama.registry.place}/acme/{GOOD}"
    ollama.names = (own,)
    ollama.runtime(**ollama.first)
    ollama.publish(GOOD, "moved")
    ollama.pull_by_hand(GOOD)
    assert ollama.says(own) == "moved"
    names = [name for name, _digest in ollama.loaded()]
    assert names == [f"{own}:latest"] * 2
    status = ollama.status()
    assert status["status"] == "degraded"
    assert "stale weights" in "; ".join(status["reasons"])
    # What was pulled has no other name: it is neither taken for what was installed nor overwritten with it.
    assert "other bytes" in failure(ollama.runtime())
    assert ollama.says(own) == "moved"
    ollama.bring(good=ollama.offer(GOOD, f"http://127.0.0.1:{ollama.port}", refresh=True))
    mended = ollama.runtime()
    assert not failure(mended)
    assert mended["runtime"]["status"] == "online"
    assert ollama.says(own) == "moved"
    assert len(ollama.loaded()) == 1


def test_a_deleted_model_that_stays_in_memory_is_told(ollama: InOllama) -> None:
    ollama.runtime(**ollama.first)
    ollama.ask("POST", "/api/generate", model=f"{ollama.registry.place}/acme/{OTHER}", keep_alive=-1)
    ollama.ask("DELETE", "/api/delete", model=f"{ollama.registry.place}/acme/{OTHER}")
    assert len(ollama.loaded()) == 2
    status = ollama.status()
    assert status["status"] == "degraded"
    assert "is in memory and was deleted" in status["reasons"][0]
    mended = ollama.runtime()
    if ollama.supervisor == "external":
        assert "stale weights" in failure(mended)
        ollama.end(ollama.process)
        ollama.come_back()
        mended = ollama.runtime()
    assert not failure(mended)
    assert mended["changed"]
    assert [name for name, _digest in ollama.loaded()] == ["chat:latest"]
    assert ollama.answers() == dict.fromkeys(ollama.names, GOOD)


def test_a_deleted_model_that_stays_in_memory_keeps_nobody_from_a_switch(ollama: InOllama) -> None:
    ollama.runtime(**ollama.first)
    ollama.create_and_forget("theirs")
    assert len(ollama.loaded()) == 2
    switched = ollama.runtime(model=OTHER)
    if ollama.supervisor == "external":
        assert "stale weights" in failure(switched)
        assert ollama.answers() == dict.fromkeys(ollama.names, GOOD)
        return
    assert not failure(switched)
    assert ollama.answers() == dict.fromkeys(ollama.names, OTHER)
    assert len(ollama.loaded()) == 1
