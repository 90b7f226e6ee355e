# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of faults share: a host with a store that can be looked at, and the scenes that need an operating
system's help (a small disk, another user, a server whose certificate nobody signed)."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import ssl
import subprocess
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3.util.retry
from ansible_collections.llmops.fleet.plugins.module_utils._api import huggingface, remote_file
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.store import Store
from hub import Hub

Result = dict[str, t.Any]
RunModule = t.Callable[..., Result]

REPOSITORY = "org/qwen"
# More than two of the pieces that are asked for at once, less than one part.
WEIGHTS = functools.reduce(lambda made, _round: made + made[::-1] + bytes([len(made) % 251]), range(15), b"weights!!")
WEIGHTS = (WEIGHTS * 32)[:9_000_000]
CONFIGURATION = b'{"a": 1}'
FILES = {"config.json": CONFIGURATION, "model.gguf": WEIGHTS}
SIZE = len(WEIGHTS)
TOKEN = "hf_planted_secret"
_TIME = time.time


class QuickClock:
    """The module `time` for those who wait: they sleep no longer, and say how long they would have."""

    def __init__(self) -> None:
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.naps.append(seconds)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(time, name)


def quicken(monkeypatch: pytest.MonkeyPatch) -> QuickClock:
    """Let nobody wait between two tries."""
    clock = QuickClock()
    for module in (remote_file, huggingface, urllib3.util.retry):
        monkeypatch.setattr(module, "time", clock)
    return clock


@dataclass
class Bench:
    """A host, a hub, and what is known about both."""

    run_module: RunModule
    hub: Hub
    root: Path
    clock: QuickClock
    monkeypatch: pytest.MonkeyPatch
    stack: contextlib.ExitStack
    truth: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    params: dict[str, t.Any] = field(default_factory=dict)
    endpoint: str = ""

    @property
    def store(self) -> Path:
        return self.root / "var/lib/llm/models"

    @property
    def partials(self) -> list[Path]:
        # The weights': whether the small file was begun before the run ended is a matter of luck.
        return sorted((self.store / "partial").glob("sha256-*.partial"))

    def pull(self, **params: t.Any) -> Result:
        """One run of the module; the hub's token goes with each."""
        if "models" not in params:
            params = {"name": "qwen", "model": REPOSITORY, **params}
        endpoint = self.endpoint or self.hub.url
        base = {"prefix": str(self.root), "endpoint": endpoint, "timeout": 2, "token": TOKEN}
        return self.run_module("llm_model", **{**base, **params})

    def publish(self, repository: str, files: dict[str, bytes]) -> None:
        """Let the hub have these files, and them be the truth."""
        self.hub.publish(repository, files)
        self.truth = files

    def digest(self, path: str) -> str:
        """What the hub calls a file's content."""
        blobs = self.hub.commits[REPOSITORY][self.hub.branches[REPOSITORY]["main"]]
        return blobs[path].sha256 or blobs[path].oid

    def forget(self) -> None:
        """The hub forgets its faults and what it was asked."""
        self.hub.settled()
        self.hub.reset()

    def jump(self, seconds: float) -> None:
        """From now on the host's clock is wrong by so much."""
        real = _TIME
        self.monkeypatch.setattr(time, "time", lambda: real() + seconds)

    def grow(self, place: Path, size: int) -> None:
        """Give a mounted disk more room."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)

    def reading(self) -> dict[str, dict[str, t.Any]]:
        """The models that a reader of the store would take for installed, by name."""
        models = Store(str(self.store), Owner()).reading().manifest.models
        return {name: record.as_dict() for name, record in models.items() if record.status == "installed"}

    def assert_right(self, name: str = "qwen") -> None:
        """The model is there and every byte of it is the published one."""
        record = self.reading()[name]
        found = {path: (Path(record["folder"]) / path).read_bytes() == data for path, data in self.truth.items()}
        assert found == dict.fromkeys(self.truth, True)
        assert sorted(entry["path"] for entry in record["files"]) == sorted(self.truth)

    def assert_absent(self, name: str = "qwen") -> None:
        """Nothing reads as present: no record, and no folder that a program could take for the model."""
        assert name not in self.reading()
        assert not list((self.store / "huggingface").glob("*")) if self.store.exists() else True

    def kept(self) -> int:
        """Bytes that an earlier run left for the next one."""
        return sum(path.stat().st_size for path in self.partials)

    def cut_short(self, at: int) -> None:
        """A run that ended when `at` bytes were here."""
        self.hub.fault("model.gguf", cut=at, times=1)
        self.hub.fault("model.gguf", cut=0)
        # One connection, so that what is here ends exactly there.
        assert self.pull(workers=1)["reason"] == "transfer_failed"
        assert self.kept() == at
        self.forget()


@pytest.fixture
def bench(run_module: RunModule, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Bench]:
    hub.publish(REPOSITORY, FILES)
    with contextlib.ExitStack() as stack:
        made = Bench(run_module, hub, tmp_path, quicken(monkeypatch), monkeypatch, stack)
        yield made


# --- scenes ---


@contextlib.contextmanager
def disk(place: Path, size: int, options: str = "") -> t.Iterator[None]:
    """A real file system of `size` bytes, mounted at `place`."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting needs root")
    place.mkdir(parents=True, exist_ok=True)
    words = f"size={size}{',' if options else ''}{options}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is refused: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        # Threads of a run that failed may still be closing their files.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def read_only(place: Path) -> t.Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def as_nobody(work: t.Callable[[], Result]) -> Result:
    """Run in a child that has given root away."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with os.fdopen(writing, "w") as out:
                json.dump(work(), out)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    result: Result = json.loads(text)
    return result


@contextlib.contextmanager
def untrusted(folder: Path) -> t.Iterator[Hub]:
    """A hub behind TLS whose certificate signs itself."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    command = ["openssl", *words.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made = Hub()
    # The handshake is done by the connection's own thread: one that fails must not end the server's loop.
    made._server.socket = context.wrap_socket(made._server.socket, server_side=True, do_handshake_on_connect=False)
    made._server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    made.url = made.url.replace("http://", "https://")
    with made:
        yield made
