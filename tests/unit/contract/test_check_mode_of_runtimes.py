# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode of `llm_runtime` foretells the run that follows: engine x state of the host x what is asked.

Every situation is looked at in check mode first, which must change nothing, and is then run: `changed`, the diff and the
reason of a failure must be those that were foretold.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import psutil
import pytest
import requests
from contract.runtimes import GOOD, HOSTS, OTHER, WRONG, Host, InOllama, Run, SomebodyElses, until
from killing import killed_at
from liar import Liar, Truth
from ports import another_port
from reciter import sentence_of


class Scene:
    """One host for all situations of an engine; `stack` has what is begun for one of them."""

    def __init__(self, host: Host, other_port: int) -> None:
        self.host, self.other_port = host, other_port
        self.stack = contextlib.ExitStack()

    def seen(self) -> t.Any:
        """All that check mode must leave as it is: files, what the engine keeps and has in memory, processes."""
        ours = [process for process in psutil.process_iter(["cmdline", "create_time"]) if self._is_ours(process)]
        try:
            own = self.host.own()
        except AssertionError:
            own = "it answers as something else"
        return files(self.host.prefix), own, {(one.pid, one.info["create_time"]) for one in ours}

    def _is_ours(self, process: psutil.Process) -> bool:
        words = " ".join(process.info["cmdline"] or ())
        return str(self.host.prefix.parent) in words or str(self.host.port) in words


def files(prefix: Path) -> set[tuple[str, int]]:
    """What is there, without the log that the engine itself goes on writing."""
    return {
        (str(path), path.lstat().st_mtime_ns)
        for path in prefix.rglob("*")
        if path.is_file() and "/log/" not in str(path) and path.suffix not in (".pyc", ".lock", ".pid")
    }


# --- states of a host ---


def absent(scene: Scene) -> None:
    assert not scene.host.runtime(state="absent").get("failed")


def serving(scene: Scene) -> None:
    served = scene.host.runtime(**scene.host.first)
    assert not served.get("failed"), served


def switched(scene: Scene) -> None:
    serving(scene)
    assert scene.host.runtime(model=OTHER)["changed"]


def serving_since_now(scene: Scene) -> None:
    absent(scene)
    serving(scene)


def stopped(scene: Scene) -> None:
    serving(scene)
    scene.host.runtime(state="stopped")


def able_to_sleep(scene: Scene) -> None:
    serving(scene)
    scene.host.runtime(**scene.host.sleeping)


def asleep(scene: Scene) -> None:
    able_to_sleep(scene)
    slept = scene.host.runtime(state="sleeping")
    assert slept["changed"], slept


def edited_by_hand(scene: Scene) -> None:
    serving(scene)
    path = scene.host.prefix / "etc/llm/runtimes/chat.env"
    path.write_text(path.read_text() + "MORE=1\n")


def killed_with_its_keeper(scene: Scene) -> None:
    serving(scene)
    engine, *more = scene.host.members()
    keeper = engine.parent()
    assert keeper
    for process in (keeper, engine, *more):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([keeper, engine, *more], timeout=5)


def other_runs(scene: Scene) -> None:
    serving(scene)
    served = scene.host.runtime(
        **{**scene.host.first, "name": "other", "port": scene.other_port, "served_names": ["o"]}
    )
    assert not served.get("failed"), served
    scene.stack.callback(scene.host.runtime, name="other", state="absent")


def stranger_on_the_port(scene: Scene) -> None:
    absent(scene)
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(scene.host.port)]
    process = scene.stack.enter_context(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    scene.stack.callback(process.kill)
    until(lambda: listens(scene.host.port), "the stranger did not start")


def adoptable_on_the_port(scene: Scene) -> None:
    absent(scene)
    path = next((scene.host.prefix / "var/lib/llm/models/file").glob(f"{GOOD}@*/{GOOD}.gguf"))
    scene.stack.enter_context(Liar(Truth(str(path), ("chat", "gpt"), 256, sentence_of(GOOD)), port=scene.host.port))


def adopted(scene: Scene) -> None:
    adoptable_on_the_port(scene)
    served = scene.host.runtime(**scene.host.first, on_stranger="adopt")
    assert not served.get("failed"), served


def gone(scene: Scene) -> None:
    """Whoever runs it has ended it."""
    serving(scene)
    assert isinstance(scene.host, SomebodyElses)
    scene.host.end(scene.host.process)
    scene.stack.callback(scene.host.come_back)


def broken(scene: Scene) -> None:
    """Something else listens where it was."""
    gone(scene)
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(scene.host.port)]
    process = scene.stack.enter_context(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    scene.stack.callback(process.kill)
    until(lambda: listens(scene.host.port), "what is broken did not start")


def never_there(scene: Scene) -> None:
    absent(scene)
    assert isinstance(scene.host, SomebodyElses)
    scene.host.end(scene.host.process)
    scene.stack.callback(scene.host.come_back)


def name_pulled_by_hand(scene: Scene) -> None:
    """A model of somebody else has the name that is asked for."""
    serving(scene)
    host = scene.host
    assert isinstance(host, InOllama)
    host.ask("POST", "/api/copy", source=f"{host.registry.place}/acme/{OTHER}", destination="theirs")
    scene.stack.callback(host.ask, "DELETE", "/api/delete", model="theirs")


def interrupted_at(step: str, *, of: t.Callable[[Scene], None] = serving) -> t.Callable[[Scene], None]:
    """A task that was to bring up another model was killed when it began this step."""

    def interrupted(scene: Scene) -> None:
        of(scene)
        asked = scene.host.first if of is absent else {}
        killed_at(step, lambda: scene.host.runtime(**{**asked, "model": OTHER}))

    interrupted.__name__ = f"{of.__name__}, then killed at {step}"
    return interrupted


def listens(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code > 0
    except requests.RequestException:
        return False


# --- the table: engine, state of the host, what is asked, how it ends: changed, unchanged, or with this reason ---

VLLM, LLAMA, OLLAMA, STUDIO = "vllm", "llama_cpp", "ollama, external", "lm_studio, external"
FIRST = {"first": True}
SITUATIONS: list[tuple[str, t.Callable[[Scene], None], dict[str, t.Any], bool | str]] = [
    (LLAMA, absent, {}, "runtime_missing"),
    (LLAMA, absent, {"state": "stopped"}, False),
    (LLAMA, serving, {}, False),
    (LLAMA, serving, {"state": "sleeping"}, "unsupported"),
    (VLLM, serving_since_now, {"state": "rolled_back"}, "no_generation"),
    (VLLM, serving, {"model": WRONG}, "model_unsuitable"),
    (VLLM, serving, {"host": "0.0.0.0"}, "exposed"),
    (VLLM, serving, {"state": "sleeping"}, "unsupported"),
    (VLLM, serving, {"drain_timeout": 3.0}, True),
    (VLLM, serving, {"state": "restarted"}, True),
    (VLLM, switched, {"state": "rolled_back"}, True),
    (VLLM, able_to_sleep, {"state": "sleeping"}, True),
    (VLLM, asleep, {}, True),
    (VLLM, stopped, {}, True),
    (VLLM, stopped, {"state": "stopped"}, False),
    (VLLM, edited_by_hand, {}, True),
    (VLLM, killed_with_its_keeper, {"state": "stopped"}, False),
    (STUDIO, serving, {"model": OTHER}, True),
    # Others on the host.
    (LLAMA, stranger_on_the_port, {**FIRST}, "port_in_use"),
    (LLAMA, stranger_on_the_port, {**FIRST, "on_stranger": "evict"}, True),
    (LLAMA, stranger_on_the_port, {"state": "absent"}, False),
    (LLAMA, adoptable_on_the_port, {**FIRST, "on_stranger": "adopt"}, True),
    (LLAMA, adopted, {"state": "stopped"}, False),
    (VLLM, other_runs, {"exclusive": True}, True),
    (VLLM, other_runs, {"served_names": ["o"]}, "served_name_taken"),
    (OLLAMA, name_pulled_by_hand, {"served_names": ["theirs"]}, "served_name_taken"),
    # Somebody else runs it.
    (OLLAMA, serving, {"state": "stopped"}, True),
    (OLLAMA, asleep, {"state": "stopped"}, False),
    (OLLAMA, never_there, {**FIRST}, "supervisor_failed"),
    (OLLAMA, gone, {}, "supervisor_failed"),
    (OLLAMA, gone, {"state": "stopped"}, False),
    (OLLAMA, broken, {"state": "stopped"}, False),
    (OLLAMA, broken, {"state": "absent"}, True),
    # What a run that was killed left is ended first.
    (VLLM, interrupted_at("drain"), {}, False),
    (VLLM, interrupted_at("write"), {}, True),
    (VLLM, interrupted_at("write"), {"state": "stopped"}, True),
    (VLLM, interrupted_at("restart"), {}, True),
    (VLLM, interrupted_at("restart"), {"model": GOOD}, True),
    (VLLM, interrupted_at("restart", of=stopped), {"state": "stopped"}, True),
    (VLLM, interrupted_at("restart", of=serving_since_now), {"state": "rolled_back"}, "no_generation"),
    (VLLM, interrupted_at("prove", of=absent), {"state": "stopped"}, True),
    (VLLM, interrupted_at("commit"), {}, True),
    (OLLAMA, interrupted_at("load"), {}, True),
    (OLLAMA, interrupted_at("load"), {"state": "sleeping"}, True),
]


def name_of(situation: t.Any) -> str | None:
    """A readable part of a test's name."""
    if callable(situation):
        return situation.__name__.replace("_", " ")
    if isinstance(situation, dict):
        return " ".join(f"{name}={value}" for name, value in situation.items()) or "as it is"
    return str(situation)


class Scenes:
    """The hosts, each made when the first situation needs it."""

    def __init__(self, folder: Path, engine: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._engine, self._stack = folder, engine, stack
        self._made: dict[str, Scene] = {}

    def of(self, kind: str, run: Run) -> Scene:
        if kind not in self._made:
            prefix = self._folder / kind / "host"
            shutil.copytree(self._engine, prefix / "opt/llm/engines/llama_cpp/1")
            scene = Scene(HOSTS[kind](prefix, another_port(), run, self._stack), another_port())
            self._stack.callback(scene.host.runtime, state="absent")
            self._made[kind] = scene
        return self._made[kind]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, engine: Path) -> t.Iterator[Scenes]:
    with contextlib.ExitStack() as stack:
        yield Scenes(tmp_path_factory.mktemp("scenes"), engine, stack)


@pytest.mark.parametrize(("kind", "state", "asked", "ends"), SITUATIONS, ids=name_of)
def test_it_foretells_the_run(
    scenes: Scenes,
    run_module: Run,
    kind: str,
    state: t.Callable[[Scene], None],
    asked: dict[str, t.Any],
    ends: bool | str,
) -> None:
    scene = scenes.of(kind, run_module)
    params = {**scene.host.first, **asked} if asked.get("first") else {**asked}
    params.pop("first", None)
    with scene.stack:
        state(scene)
        before = scene.seen()
        foretold = scene.host.runtime(check=True, **params)
        assert scene.seen() == before, "check mode changed something"
        real = scene.host.runtime(**params)
    assert told(foretold) == told(real)
    assert (real.get("reason") or real["changed"]) == ends, real


def told(result: dict[str, t.Any]) -> tuple[t.Any, ...]:
    return result.get("reason"), result.get("changed", False), result.get("diff")
