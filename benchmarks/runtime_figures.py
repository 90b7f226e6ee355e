# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes: switches under load, rollbacks, status, verdicts on engines that lie, beside the engine's own load time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

from clients import Clients, Request
from liar import LIES, Liar, Truth
from measuring import TOP, Figure, figure, free_port, module, tried
from reciter import sentence_of, write_gguf

REQUESTS_PER_SECOND = 20
MODELS = ("alpha", "beta")
PEER = "the engine alone, from start to health 200"
COUNT = 5
# Seconds that a proof may take in the table of lies, and its verdict.
PATIENCE, VERDICT = 2.0, 3.0


class Host:
    """A tree with the engine, models that run, and one that does not (gamma)."""

    def __init__(self, root: Path) -> None:
        self.prefix = root / "host"
        folder = root / "models"
        folder.mkdir(parents=True)
        for name in MODELS:
            write_gguf(folder / f"{name}.gguf", sentence_of(name), name)
        write_gguf(folder / "gamma.gguf", sentence_of("gamma"), "gamma", architecture="lxxxx")
        models = [{"name": path.stem, "source": "file", "path": str(path)} for path in sorted(folder.iterdir())]
        self.program = self.prefix / "opt/llm/engines/llama_cpp/1/bin/llama-server"
        self.program.parent.mkdir(parents=True)
        launcher = (TOP / "roles/llama_cpp/files/llama_server.py").read_text()
        self.program.write_text(f"#!/bin/sh\n'''exec' \"{sys.executable}\" -I \"$0\" \"$@\"\n' '''\n{launcher}")
        self.program.chmod(0o755)
        module("llm_model", prefix=str(self.prefix), models=models)

    def path_of(self, model: str) -> Path:
        return next((self.prefix / "var/lib/llm/models/file").glob(f"{model}@*/{model}.gguf"))

    def runtime(self, name: str = "chat", **params: t.Any) -> tuple[float, dict[str, t.Any]]:
        return module("llm_runtime", name=name, prefix=str(self.prefix), **params)

    def attempt(self, **params: t.Any) -> dict[str, t.Any]:
        """The result of a run that fails."""
        _wall, result = tried("llm_runtime", name="chat", prefix=str(self.prefix), **params)
        if not result.get("failed"):
            raise SystemExit(f"error: it should have failed: {json.dumps(result)[:1000]}")
        return result

    def serve(self, name: str = "chat", *, port: int) -> None:
        self.runtime(name, model="alpha", port=port, engine="llama_cpp", engine_version="1", context_length=256,
                     options={"threads": 1}, supervisor="process")  # fmt: skip

    def status(self) -> tuple[float, list[dict[str, t.Any]]]:
        wall, result = module("llm_runtime_info", prefix=str(self.prefix))
        return wall, result["runtimes"]

    def alone(self, model: str) -> float:
        """Seconds of the engine's own load: started with the same arguments, by nobody's help."""
        port = free_port()
        words = [str(self.program), "--host", "127.0.0.1", "--port", str(port), "--model", str(self.path_of(model)),
                 "--alias", "chat", "--ctx-size", "256", "--parallel", "1", "--metrics", "--threads", "1"]  # fmt: skip
        started = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
            while not _is_well(port):
                time.sleep(0.005)
            wall = time.monotonic() - started
            engine.kill()
        return wall


def runtimes(work: Path, rounds: int, switches: int) -> t.Iterator[Figure]:
    host = Host(work)
    port = free_port()
    try:
        host.serve(port=port)
        yield from _switches(host, port, switches)
        yield from _rollbacks(host, rounds)
        yield from _status(host, rounds)
    finally:
        for name in ("chat", *(f"r{number}" for number in range(1, COUNT))):
            host.runtime(name, state="absent")
    yield from _verdicts(host)


def _switches(host: Host, port: int, count: int) -> t.Iterator[Figure]:
    """The model to and fro while clients ask; each switch beside one start of the engine alone."""
    pauses, whole, walls, alone = [], [], [], []
    refused = 0
    with Clients(port, REQUESTS_PER_SECOND) as clients:
        for number in range(count):
            model = MODELS[(number + 1) % 2]
            time.sleep(0.3)
            begin, at = time.monotonic(), len(clients.requests)
            wall, result = host.runtime(model=model)
            end = time.monotonic()
            time.sleep(0.3)
            seconds = {step["step"]: step["seconds"] for step in result["steps"]}
            pauses.append(seconds["restart"] + seconds["wait healthy"])
            walls.append(wall)
            whole.append(sum(seconds.values()))
            refused += _refused(clients.requests[at:], begin, end, pauses[-1])
            with clients.silent():
                time.sleep(0.1)
                alone.append(host.alone(model))
    asked = len(clients.requests)
    if refused != sum(request.reply is None for request in clients.requests):
        raise SystemExit("error: a request was refused while nothing was switched")
    under = f"{count} switches at {REQUESTS_PER_SECOND} requests/s"
    yield figure(f"{under}: pause, median", pauses, alone, PEER)
    late, late_alone = _late(pauses), _late(alone)
    yield Figure(f"{under}: pause, 95 of 100", round(late, 3), "s", PEER, round(late / late_alone, 2))
    yield figure(f"{under}: all steps", whole, alone, PEER)
    yield figure(f"{under}: the whole module", walls, alone, PEER)
    beyond = [steps - own for steps, own in zip(whole, alone)]
    yield Figure(f"{under}: beyond the engine's own load", round(statistics.median(beyond), 3), "s", "", None)
    yield Figure(f"{under}: refused, all in the pause", refused, f"of {asked}", "", None)


def _refused(requests: t.Sequence[Request], begin: float, end: float, pause: float) -> int:
    """How many were refused by one switch; the first and the last of them lie within the pause that it tells of."""
    strange = {request.reply for request in requests} - {None, *map(sentence_of, MODELS)}
    if strange:
        raise SystemExit(f"error: a reply was of neither model: {strange}")
    refused = [request for request in requests if request.reply is None]
    if not all(request.meets(begin, end) for request in refused):
        raise SystemExit("error: a request was refused while nothing was switched")
    if refused:
        span = max(request.sent for request in refused) - min(request.ended for request in refused)
        if span > pause:
            raise SystemExit(f"error: requests were refused for {span:.3f} s, and the pause was {pause:.3f} s")
    return len(refused)


def _late(values: t.Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def _rollbacks(host: Host, rounds: int) -> t.Iterator[Figure]:
    """On wish, and after a switch to a model that no engine knows."""
    whole, walls, ways, alone, alone_after = [], [], [], [], []
    for _round in range(rounds):
        serving = host.runtime()[1]["model"]
        host.runtime(model=MODELS[serving == MODELS[0]])
        alone.append(host.alone(serving))
        wall, result = host.runtime(state="rolled_back")
        walls.append(wall)
        whole.append(sum(step["seconds"] for step in result["steps"]))
        failed = host.attempt(model="gamma")
        if not failed["rolled_back"]:
            raise SystemExit(f"error: a failed switch was not rolled back: {failed['msg']}")
        ways.append({step["step"]: step["seconds"] for step in failed["steps"]}["roll back"])
        alone_after.append(host.alone(serving))
    yield figure("rollback on wish: all steps", whole, alone, PEER)
    yield figure("rollback on wish: the whole module", walls, alone, PEER)
    beyond = [steps - own for steps, own in zip(whole, alone)]
    yield Figure("rollback on wish: beyond the engine's own load", round(statistics.median(beyond), 3), "s", "", None)
    yield figure("rollback after a failed switch", ways, alone_after, PEER)


def _status(host: Host, rounds: int) -> t.Iterator[Figure]:
    """Five real engines; then one of them stopped in its tracks, so that it takes connections and answers nothing."""
    for number in range(1, COUNT):
        host.serve(f"r{number}", port=free_port())
    ours, bare = [], []
    for _round in range(rounds):
        wall, told = host.status()
        if [each["status"] for each in told] != ["online"] * COUNT:
            raise SystemExit(f"error: not all runtimes are online: {json.dumps(told)[:1000]}")
        ours.append(wall)
        bare.append(module("llm_runtime_info", prefix=str(host.prefix / "bare"))[0])
    yield figure(f"status of {COUNT} runtimes", ours, bare, "the same of a bare host")
    (pid,) = (each["pid"] for each in told if each["name"] == "r1")
    os.kill(pid, signal.SIGSTOP)
    try:
        hanging = []
        for _round in range(min(rounds, 3)):
            wall, told = host.status()
            if sorted(each["status"] for each in told) != ["degraded", *["online"] * (COUNT - 1)]:
                raise SystemExit(f"error: the one that hangs is not told: {json.dumps(told)[:1000]}")
            hanging.append(wall)
    finally:
        os.kill(pid, signal.SIGCONT)
    yield figure(f"status of {COUNT} runtimes, one hangs", hanging, ours, "none hangs")


def _verdicts(host: Host) -> t.Iterator[Figure]:
    """Each kind of lie once, through the module: how long the proof takes to say no."""
    wishes: dict[str, dict[str, t.Any]] = {
        "slow": {"min_tokens_per_second": 100.0},
        "CPU instead of GPU": {"accelerator": "gpu"},
        "other answers": {"proof": "golden", "golden": [{"prompt": "Who speaks?", "reply": sentence_of("alpha")}]},
    }
    slowest = 0.0
    truth = Truth(str(host.path_of("alpha")), ("chat",), 256, sentence_of("alpha"))
    for kind in LIES:
        with Liar(truth, kind, port=free_port()) as liar:
            result = host.attempt(
                model="alpha", port=liar.port, engine="llama_cpp", context_length=256, supervisor="external",
                proof_timeout=PATIENCE, **wishes.get(kind, {}),
            )  # fmt: skip
        verdict = {step["step"]: step["seconds"] for step in result["steps"]}["prove"]
        if verdict > VERDICT:
            raise SystemExit(f"error: the verdict on the engine that lies ({kind}) took {verdict:.1f} s")
        slowest = max(slowest, verdict)
    yield Figure(f"slowest verdict on {len(LIES)} kinds of lies", round(slowest, 3), "s",
                 f"the proof's timeout of {PATIENCE:g} s", round(slowest / PATIENCE, 2))  # fmt: skip


def _is_well(port: int) -> bool:
    with contextlib.suppress(OSError):
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    return False
