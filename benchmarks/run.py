# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure against peers, in the same run on the same machine: `make bench`.

Prints a table, and a JSON line a figure: {"name", "value", "unit", "peer", "ratio"}. A ratio is ours over the peer's,
the median over alternating pairs, so that it holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "tools"))

from ask import ask  # noqa: E402
from reciter import sentence_of, write_gguf  # noqa: E402

BIN = Path(sys.executable).parent
REQUESTS_PER_SECOND = 20


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None


def seconds(words: t.Sequence[str], environment: t.Mapping[str, str] | None = None) -> tuple[float, str]:
    """Wall seconds of a command, and what it printed; raises if it fails."""
    started = time.monotonic()
    done = subprocess.run(words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(words[:3])} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return time.monotonic() - started, done.stdout


def module(plugin: str, /, **params: t.Any) -> tuple[float, dict[str, t.Any]]:
    """A module as a process of its own, as a host runs it."""
    environment = {"PYTHONPATH": str(TOP / ".cache" / "collections")}
    program = f"ansible_collections.llmops.fleet.plugins.modules.{plugin}"
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": params})
    script = (
        "import json, runpy, sys\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "with patch_module_args(json.loads(sys.argv[2])['ANSIBLE_MODULE_ARGS']):\n"
        "    runpy.run_module(sys.argv[1], run_name='__main__')\n"
    )
    wall, out = seconds([sys.executable, "-c", script, program, arguments], environment)
    return wall, json.loads(out.strip().splitlines()[-1])


@contextlib.contextmanager
def hub(root: Path) -> t.Iterator[str]:
    """The test hub as a process of its own, so that its work is not ours."""
    port = free_port()
    words = [sys.executable, str(TOP / "tests/tools/hub.py"), "--root", str(root), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout or ():
            if line.startswith("listening"):
                break
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def log_of(url: str) -> dict[str, t.Any]:
    import urllib.request

    with urllib.request.urlopen(f"{url}/_control/log") as answer:
        told: dict[str, t.Any] = json.load(answer)
    urllib.request.urlopen(urllib.request.Request(f"{url}/_control/reset", b"{}")).close()
    return told


def hf(url: str, home: Path, *words: str) -> float:
    environment = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return seconds([str(BIN / "hf"), *words], environment)[0]


def pulls(work: Path, rounds: int, mebibytes: int) -> t.Iterator[Figure]:
    """Cold pull of one model in four files, verified, against the hub's own client."""
    folder = work / "hub" / "bench" / "large"
    folder.mkdir(parents=True)
    for number in range(4):
        with (folder / f"part{number}.bin").open("wb") as file:
            for _block in range(mebibytes // 4):
                file.write(os.urandom(1 << 20))
    ours, downloads, verified = [], [], []
    with hub(work / "hub") as url:
        for _round in range(rounds):
            wall, _result = module(
                "llm_model", name="large", model="bench/large", endpoint=url, prefix=str(work / "ours")
            )
            ours.append(wall)
            shutil.rmtree(work / "ours")
            down = hf(url, work / "theirs", "download", "bench/large")
            check = hf(url, work / "theirs", "cache", "verify", "bench/large")
            downloads.append(down)
            verified.append(down + check)
            shutil.rmtree(work / "theirs")
    size = f"{mebibytes} MiB"
    yield figure(f"cold verified pull, {size}", ours, downloads, "hf download (no hash check)")
    yield figure(f"cold verified pull, {size}", ours, verified, "hf download + hf cache verify")
    shutil.rmtree(folder)


def no_op_pulls(work: Path, rounds: int) -> t.Iterator[Figure]:
    """A model of 200 files that is there already."""
    folder = work / "hub" / "bench" / "many"
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"file{number:03}.json").write_text(json.dumps({"number": number}))
    with hub(work / "hub") as url:
        params = {"name": "many", "model": "bench/many", "endpoint": url, "prefix": str(work / "ours")}
        commit = module("llm_model", **params)[1]["models"][0]["revision"]
        hf(url, work / "theirs", "download", "bench/many")
        log_of(url)
        for title, more, words in (("branch", {}, []), ("pinned", {"revision": commit}, ["--revision", commit])):
            module("llm_model", **params, **more)
            hf(url, work / "theirs", "download", "bench/many", *words)
            log_of(url)
            ours, theirs, asked = [], [], []
            for _round in range(rounds):
                wall, result = module("llm_model", **params, **more)
                ours.append(wall)
                asked.append(sum(log_of(url)["requests"].values()))
                if result["changed"]:
                    raise SystemExit("error: a pull with nothing to do changed something")
                theirs.append(hf(url, work / "theirs", "download", "bench/many", *words))
                log_of(url)
            yield Figure(f"no-op pull of 200 files, {title}: requests", max(asked), "requests", "", None)
            yield figure(f"no-op pull of 200 files, {title}", ours, theirs, "hf download")
    shutil.rmtree(folder)


def figure(name: str, ours: list[float], theirs: list[float], peer: str) -> Figure:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs))
    return Figure(name, round(statistics.median(ours), 3), "s", peer, round(ratio, 2))


def playbooks(work: Path, rounds: int) -> t.Iterator[Figure]:
    """A run of site that has nothing to do, on three hosts; the peer is as many tasks that do nothing at all."""
    models = work / "models"
    models.mkdir()
    for name in ("alpha", "beta"):
        write_gguf(models / f"{name}.gguf", sentence_of(name), name)
    ports = [free_port() for _host in range(3)]
    hosts = {
        f"host{number}": {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "llm_prefix": str(work / f"host{number}"),
            "llm_models": [{"name": n, "source": "file", "path": str(models / f"{n}.gguf")} for n in ("alpha", "beta")],
            "llm_runtimes": [
                {"name": "chat", "engine": "llama_cpp", "initial_model": "alpha", "port": port, "context_length": 256,
                 "options": {"threads": 1}, "supervisor": "process"}
            ],
        }
        for number, port in enumerate(ports)
    }  # fmt: skip
    inventory = work / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(TOP / ".cache" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }
    run = [str(BIN / "ansible-playbook"), "-i", str(inventory)]
    seconds([*run, "llmops.fleet.site"], environment)
    try:
        ours, theirs, tasks = [], [], 0
        for _round in range(rounds):
            wall, out = seconds([*run, "llmops.fleet.site"], environment)
            if re.search(r"changed=[1-9]", out):
                raise SystemExit("error: a second run of site changed something")
            ours.append(wall)
            tasks = len(re.findall(r"^TASK ", out, re.MULTILINE))
            remote = len(
                re.findall(r"^TASK .*(Look where|Make the|Bring all|Serve and|own environment)", out, re.MULTILINE)
            )
            pings = work / "pings.yml"
            pings.write_text(
                json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}] * remote}])
            )
            theirs.append(seconds([*run, str(pings)], environment)[0])
        yield Figure("no-op site, 3 hosts: tasks", tasks, "tasks", "", None)
        yield figure("no-op site, 3 hosts", ours, theirs, f"{remote} tasks of ansible.builtin.ping")
        yield from switch_pause(f"http://127.0.0.1:{ports[0]}", hosts["host0"], rounds)
    finally:
        seconds([*run, "llmops.fleet.remove", "-e", "llm_remove_all=true"], environment)


def switch_pause(url: str, host: dict[str, t.Any], rounds: int) -> t.Iterator[Figure]:
    """The longest time without a reply that a client at 20 requests a second sees while the model is switched.

    The peer is the engine alone: SIGKILL, start by hand, first reply.
    """
    replies: list[tuple[float, str]] = []
    running = threading.Event()
    running.set()

    def client() -> None:
        while running.is_set():
            started = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                replies.append((time.monotonic(), ask(url, timeout=2)))
            time.sleep(max(0.0, 1 / REQUESTS_PER_SECOND - (time.monotonic() - started)))

    prefix = Path(host["llm_prefix"])
    thread = threading.Thread(target=client)
    thread.start()
    pauses, alone = [], []
    try:
        for number in range(rounds):
            time.sleep(0.5)
            begin = len(replies)
            module("llm_runtime", name="chat", prefix=str(prefix), model=("beta", "alpha")[number % 2])
            time.sleep(0.5)
            moments = [moment for moment, _reply in replies[max(0, begin - 1) :]]
            pauses.append(max(later - earlier for earlier, later in zip(moments, moments[1:])))
            strange = {reply for _moment, reply in replies} - {sentence_of("alpha"), sentence_of("beta")}
            if strange:
                raise SystemExit(f"error: a reply was of neither model: {strange}")
    finally:
        running.clear()
        thread.join()
    for _round in range(rounds):
        alone.append(engine_alone(prefix))
    yield figure("switch pause at 20 requests/s", pauses, alone, "the engine alone, from start to first reply")


def engine_alone(prefix: Path) -> float:
    port = free_port()
    program = prefix / "var/lib/llm/runtimes/chat/engine/bin/llama-server"
    model = next((prefix / "var/lib/llm/models/file").glob("alpha@*/alpha.gguf"))
    started = time.monotonic()
    words = [str(program), "--model", str(model), "--port", str(port), "--ctx-size", "256", "--threads", "1"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
        while True:
            try:
                ask(f"http://127.0.0.1:{port}", timeout=2)
                break
            except (OSError, ValueError):
                time.sleep(0.01)
        wall = time.monotonic() - started
        engine.send_signal(signal.SIGTERM)
    return wall


def table(figures: t.Sequence[Figure]) -> str:
    rows = [("figure", "value", "peer", "ratio")]
    for item in figures:
        rows.append(
            (
                item.name,
                f"{item.value:g} {item.unit}",
                item.peer or "-",
                "-" if item.ratio is None else f"{item.ratio:.2f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure against peers in the same run.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the cold pull")
    parser.add_argument("--only", choices=("pulls", "no-op", "playbooks"))
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as name:
        work = Path(name)
        if options.only in (None, "pulls"):
            figures += pulls(work, options.rounds, options.mebibytes)
        if options.only in (None, "no-op"):
            figures += no_op_pulls(work, options.rounds)
        if options.only in (None, "playbooks"):
            figures += playbooks(work, options.rounds)
    print(table(figures))
    print()
    for item in figures:
        print(json.dumps(asdict(item)))


if __name__ == "__main__":
    main()
