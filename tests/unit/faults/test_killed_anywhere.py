# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at any instant leaves nothing that reads as present and is wrong, and costs little again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.chunks import CHUNK
from ansible_collections.llmops.fleet.plugins.module_utils._host import store
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.store import Store
from ansible_collections.llmops.fleet.plugins.module_utils._work import ensure_model
from hub import Hub

# Two parts and a half, which is the least that has a first, a middle and a last part.
LARGE = random.Random(1).randbytes(1 << 20) * 40 + b"the last part is a short one"
SMALL = random.Random(2).randbytes(3_000_000)
FILES = {"config.json": b'{"a": 1}', "model.gguf": LARGE, "projector.gguf": SMALL, "sub/tokenizer.json": b"{}"}
SIZE = sum(map(len, FILES.values()))
REPOSITORY = "org/killed"
# Asked of the kernel for each end of a connection, which doubles it (socket(7)): what was sent and never read.
WINDOW = 1 << 18
IN_THE_KERNEL = 4 * WINDOW
# Wherever a seed of its own is not given, the same instants come again.
SEED = int(os.environ.get("KILL_SEED", "20240229"))


class Host:
    """A store, a hub with the model, and runs of the module in processes that can be killed."""

    def __init__(self, root: Path, hub: Hub, puller: subprocess.Popen[str], output: Path) -> None:
        self.root, self.hub, self._puller, self._output = root, hub, puller, output
        self.store = root / "var/lib/llm/models"
        self.kills = 0

    def run(self, *, killed_after: float | None = None, **params: t.Any) -> tuple[bool, float]:
        """One run: whether it came to its end, and the seconds it took. The kill comes from outside, at any instant."""
        base = {"name": "killed", "model": REPOSITORY, "prefix": str(self.root), "endpoint": self.hub.url, "timeout": 5}
        assert self._puller.stdin
        assert self._puller.stdout
        self._puller.stdin.write(json.dumps({**base, **params}) + "\n")
        self._puller.stdin.flush()
        child = int(self._puller.stdout.readline())
        started = time.perf_counter()
        if killed_after is not None:
            time.sleep(killed_after)
            # Its parent has not waited for it yet, or is just doing so: the number is nobody else's so soon.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        assert self._puller.stdout.readline() == "ended\n"
        took = time.perf_counter() - started
        self.kills += killed_after is not None
        self.hub.settled()
        text = self._output.read_text() if self._output.exists() else ""
        self._output.unlink(missing_ok=True)
        return text.rstrip().endswith("}"), took

    def run_whole(self, **params: t.Any) -> None:
        assert self.run(**params)[0]

    def present(self) -> list[str]:
        """The models a reader takes for installed; each of them must be right."""
        text = (self.store / "manifest.json").read_text() if (self.store / "manifest.json").exists() else None
        assert text is None or isinstance(json.loads(text)["models"], list)
        records = Store(str(self.store), Owner()).reading().manifest.models.values()
        present = [record for record in records if record.status == "installed"]
        for record in present:
            for entry in record.files:
                assert (Path(record.folder) / entry.path).read_bytes() == FILES[entry.path], entry.path
        # Who looks at folders only is not misled either.
        for folder in self.store.glob("huggingface/*"):
            assert all((folder / path).read_bytes() == data for path, data in FILES.items())
        return [record.name for record in present]

    def bytes_besides(self) -> list[Path]:
        """Files on their way in that are not just second names of a model's: what a kill late in a run leaves."""
        inodes = {path.stat().st_ino for path in self.store.glob("huggingface/**/*")}
        return [path for path in self.store.glob("partial/**/*") if path.is_file() and path.stat().st_ino not in inodes]

    def leftovers(self) -> list[Path]:
        """What no model needs any more."""
        found = [*self.store.glob("partial/*")]
        if not self.present():
            found += [*self.store.glob("huggingface/*"), *self.store.glob("records/*"), *self.store.glob("chunks/*")]
        return found


@pytest.fixture(scope="module")
def puller(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[subprocess.Popen[str], Path]]:
    output = tmp_path_factory.mktemp("puller") / "result.json"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    program = Path(__file__).with_name("puller.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process, output
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def host(tmp_path: Path, puller: tuple[subprocess.Popen[str], Path]) -> t.Iterator[Host]:
    # What a killed process wrote is in memory either way; a disk would only add its own time, two hundred times.
    memory = Path("/dev/shm")
    place = str(memory) if os.access(memory, os.W_OK) else str(tmp_path)
    files: dict[str, bytes | Path] = {}
    for path, data in FILES.items():
        files[path] = tmp_path / path
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with tempfile.TemporaryDirectory(dir=place) as root, Hub(window=WINDOW) as hub:
        hub.publish(REPOSITORY, files)
        yield Host(Path(root), hub, *puller)


def instants(part: str, count: int, host: Host, duration: float) -> list[float]:
    """Instants of a run that takes `duration`, a little beyond its end too; the same ones for the same seed."""
    draw = random.Random(f"{SEED} {part}")
    return [draw.uniform(0, 1.1 * duration) for _number in range(count)]


def measured(host: Host, **params: t.Any) -> float:
    done, took = host.run(**params)
    assert done
    return took


@pytest.mark.parametrize("part", ["one at a time 1", "one at a time 2", "several 1", "several 2"])
def test_a_pull_that_is_killed(host: Host, part: str) -> None:
    """Fifty kills: each followed by a whole run, or several in a row and then a whole run."""
    duration = measured(host)
    host.run_whole(state="absent")
    draw = random.Random(f"{SEED} rounds {part}")
    times = instants(part, 50, host, duration)
    while times:
        row = [times.pop() for _number in range(min(len(times), 1 if part.startswith("one") else draw.randint(3, 8)))]
        if len(row) > 1:
            # Every run starts where the last one ended, so the instants of all lie close to each other.
            row = [instant / len(row) ** 0.5 for instant in row]
        host.hub.reset()
        told = f"seed {SEED}, {part}, killed after {row} of {duration:.3f} s"
        for instant in row:
            host.run(killed_after=instant)
            host.present()
        host.run_whole()
        assert host.present() == ["killed"], told
        assert not host.bytes_besides(), told
        for path, data in FILES.items():
            assert host.hub.sent[path] <= len(data) + len(row) * (CHUNK + IN_THE_KERNEL), f"{told}: {path}"
        shutil.rmtree(host.store)


def test_a_removal_that_is_killed(host: Host) -> None:
    """Twenty kills: the model is there and right, or it is gone; later runs leave nothing of it."""
    host.run_whole()
    duration = measured(host, state="absent")
    for instant in instants("absent", 20, host, duration):
        told = f"seed {SEED}, killed after {instant} of {duration:.3f} s"
        host.run_whole()
        host.run(killed_after=instant, state="absent")
        host.present()
        host.run_whole(state="absent")
        assert host.present() == [], told
    host.run_whole()
    host.run_whole(state="absent")
    assert not host.leftovers()


@pytest.mark.parametrize("instant", ["before the manifest", "before the bytes"])
def test_the_next_removal_ends_a_removal_that_was_killed(
    host: Host, run_module: t.Callable[..., t.Any], monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    """The folder is out of sight already, and what is left on the disk must go as well."""
    params = {"name": "killed", "prefix": str(host.root), "state": "absent"}
    host.run_whole()
    sweeps: list[t.Any] = []

    def killed(*_arguments: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    def killed_the_second_time(paths: t.Any) -> None:
        # The first time is when the store is taken.
        sweeps.append(paths)
        if len(sweeps) > 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if instant == "before the manifest":
            patched.setattr(Store, "write_manifest", killed)
        else:
            patched.setattr(store, "sweep", killed_the_second_time)
        with pytest.raises(KeyboardInterrupt):
            run_module("llm_model", **params)
    assert host.present() == []
    assert run_module("llm_model", **params, check=True)["changed"]
    assert run_module("llm_model", **params)["changed"]
    assert not host.leftovers()
    assert run_module("llm_model", **params)["changed"] is False


def test_a_pull_that_was_killed_at_its_end_leaves_nothing_to_the_removal(
    host: Host, run_module: t.Callable[..., t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest has the model, and its files still have the names they were proven under."""
    params = {"name": "killed", "prefix": str(host.root)}

    class KilledStore(Store):
        def write_manifest(self, manifest: t.Any) -> None:
            super().write_manifest(manifest)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ensure_model, "Store", KilledStore)
        with pytest.raises(KeyboardInterrupt):
            run_module("llm_model", **params, model=REPOSITORY, endpoint=host.hub.url)
    assert host.present() == ["killed"]
    run_module("llm_model", **params, state="absent")
    assert not host.leftovers()


def test_a_repair_that_is_killed(host: Host) -> None:
    """Twenty kills: what was right stays right, and the next repair fetches the damaged part and no more."""
    host.run_whole()
    folder = next(host.store.glob("huggingface/*"))
    path = folder / "model.gguf"

    def damage() -> None:
        path.chmod(0o640)
        with path.open("r+b") as file:
            file.seek(CHUNK + 1000)
            file.write(b"damage")

    damage()
    duration = measured(host, state="verified")
    for instant in instants("verified", 20, host, duration):
        told = f"seed {SEED}, killed after {instant} of {duration:.3f} s"
        damage()
        host.hub.reset()
        host.run(killed_after=instant, state="verified")
        found = path.read_bytes()
        assert len(found) == len(LARGE), told
        assert (found[:CHUNK], found[2 * CHUNK :]) == (LARGE[:CHUNK], LARGE[2 * CHUNK :]), told
        host.run_whole(state="verified")
        assert host.present() == ["killed"], told
        assert not host.bytes_besides(), told
        assert dict(host.hub.sent).keys() <= {"model.gguf"}, told
        assert host.hub.sent["model.gguf"] <= 2 * CHUNK, told
