# SPDX-License-Identifier: GPL-3.0-or-later
"""One row a fault: what the host has afterwards, what was fetched twice, and what is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.chunks import CHUNK
from ansible_collections.llmops.fleet.plugins.module_utils._host.read_ahead import WINDOW
from faults.bench import (
    CONFIGURATION,
    FILES,
    REPOSITORY,
    SIZE,
    TOKEN,
    WEIGHTS,
    Bench,
    as_nobody,
    disk,
    read_only,
    untrusted,
)
from faults.rows import ALL, ROWS, faulty, happening, row, waited, waited_at_most
from hub import Hub

# What two connections may have on their way when one of them breaks: a piece each.
PIECE = WINDOW // 2
ON_THE_WAY = WINDOW
SUBJECT = "Model qwen (huggingface org/qwen@main)"

# --- the connection breaks ---

for _name, _at in {"first byte": 0, "second byte": 1, "middle": SIZE // 2, "last byte": SIZE - 1}.items():
    faulty(f"cut at the {_name}", {"cut": _at, "times": 1}, params={"workers": 1})
faulty("every connection cut", {"cut": 1_000_000}, sent=ALL + ON_THE_WAY)
faulty(
    "link lost",
    {"cut": 1_000_000, "times": 1},
    {"cut": 0},
    reason="transfer_failed",
    says=("model.gguf", f"after byte 1000000 of {SIZE}", "the connection ended early"),
    kept=1_000_000,
    again=ALL - 1_000_000,
)
faulty("link lost later", {"cut": 1_000_000, "times": 2}, {"cut": 0}, reason="transfer_failed", kept=1_000_000)
faulty(
    "slow loris",
    {"rate": 400},
    reason="transfer_failed",
    says=("model.gguf", "slower than"),
    params={"timeout": 0.3},
    sent=100_000,
    again=ALL,
)
faulty("no answer", {"hang": 0.6}, reason="transfer_failed", says=("in time",), params={"timeout": 0.1}, again=2 * ALL)
faulty(
    "no answer to metadata", {"path": "/api", "hang": 0.4}, reason="unreachable", params={"timeout": 0.1}, sent=0
)  # fmt: skip


@row(
    "connection refused",
    reason="unreachable",
    says=("http://127.0.0.1:9",),
    params={"endpoint": "http://127.0.0.1:9"},
    sent=0,
)
def _refused(bench: Bench) -> None: ...


@row("content connection refused", reason="transfer_failed", says=("model.gguf", "refused the connection"))
def _content_refused(bench: Bench) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        bench.hub.fault("model.gguf", location=f"http://127.0.0.1:{listener.getsockname()[1]}")


@row(
    "unknown host",
    reason="unreachable",
    says=("http://nowhere.invalid",),
    params={"endpoint": "http://nowhere.invalid"},
    sent=0,
)
def _unknown_host(bench: Bench) -> None: ...


faulty(
    "unknown content host",
    {"location": "http://nowhere.invalid"},
    reason="transfer_failed",
    says=("model.gguf", "its name could not be resolved"),
)


@row(
    "untrusted certificate",
    reason="tls_failed",
    says=("https://127.0.0.1", "certificate"),
    sent=0,
)
def _untrusted(bench: Bench) -> t.Iterator[None]:
    with untrusted(bench.root / "certificate") as elsewhere:
        elsewhere.publish(REPOSITORY, FILES)
        bench.monkeypatch.setenv("HF_ENDPOINT", elsewhere.url)
        bench.endpoint = elsewhere.url
        yield
        bench.endpoint = ""


@row("untrusted certificate of the content", reason="tls_failed", says=("model.gguf", "certificate"))
def _untrusted_content(bench: Bench) -> t.Iterator[None]:
    with untrusted(bench.root / "certificate") as elsewhere:
        bench.hub.fault("model.gguf", location=elsewhere.url)
        yield


# --- the bytes are wrong ---

faulty("flipped bit on the way", {"flip": 12345, "times": 1}, sent=ALL + SIZE)
faulty(
    "flipped bit always",
    {"flip": 12345},
    reason="checksum_mismatch",
    says=("model.gguf", "do not hash to the promised sha256:"),
    sent=2 * ALL,
)
faulty(
    "wrong hash told",
    {"path": "/api", "told": {"sha256": "0" * 64}},
    reason="checksum_mismatch",
    says=("model.gguf", "0" * 64),
    sent=2 * ALL,
)
faulty(
    "larger size told",
    {"path": "/api", "told": {"size": SIZE + 1000}},
    reason="transfer_failed",
    says=("model.gguf", str(SIZE + 1000)),
    sent=ALL,
    again=len(CONFIGURATION) + SIZE % PIECE,
)
faulty(
    "smaller size told",
    {"path": "/api", "told": {"size": SIZE - 1000}},
    reason="checksum_mismatch",
    says=("model.gguf",),
    sent=2 * ALL,
)
faulty("more told than sent", {"length": 2 * SIZE}, params={"workers": 1})
faulty("less told than sent", {"length": 5_000_000, "times": 1}, params={"workers": 1}, sent=ALL + SIZE)
faulty("compressed unasked", {"gzip": True}, sent=2 * ALL)


@row("flipped bit on the disk", params={"state": "verified", "name": "large", "model": "org/large"}, sent=CHUNK)
def _flipped_later(bench: Bench) -> None:
    # Two parts and a half, so that repairing one is not fetching all.
    bench.publish("org/large", {"large.gguf": WEIGHTS * 4 + b"end"})
    record = bench.pull(name="large", model="org/large")["models"][0]
    path = Path(record["local_path"])
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(CHUNK + 77)
        file.write(b"\xff\x00")
    bench.forget()


# --- what an earlier run left ---


@row("shorter partial", sent=ALL - 3_000_000)
def _shorter_partial(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    with bench.partials[0].open("r+b") as file:
        file.truncate(3_000_000)


@row("longer partial", sent=ALL)
def _longer_partial(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    bench.partials[0].write_bytes(WEIGHTS + b"too much")


@row("partial with wrong bytes", sent=ALL)
def _wrong_partial(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    bench.partials[0].write_bytes(WEIGHTS[:1000] + b"?" + WEIGHTS[1001:5_000_000])


@row("partial of another revision", sent=ALL)
def _other_partial(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    bench.publish(REPOSITORY, {**FILES, "model.gguf": WEIGHTS[::-1]})


# Once to learn that it gives no ranges, and once whole.
@row("200 to a range", sent=2 * ALL)
def _ignored_range(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    bench.hub.fault("model.gguf", ignore_range=True)


@row("416 to a range", sent=2 * ALL)
def _refused_range(bench: Bench) -> None:
    bench.cut_short(5_000_000)
    bench.hub.fault("model.gguf", status=416, times=1)


# --- the hub is busy, or says something else ---


_BUSY = {"status": 429, "times": 1}
_DATE = "Wed, 21 Oct 2099 07:28:00 GMT"
for _name, _retry in {"7": "7", "a date": _DATE, "nonsense": "soon", "a negative number": "-1"}.items():
    _headers = {"Retry-After": _retry}
    _look = waited(7) if _retry == "7" else None
    faulty(f"429 for content, Retry-After {_name}", {**_BUSY, "headers": _headers}, look=_look)
    faulty(
        f"429 for metadata, Retry-After {_name}",
        {**_BUSY, "path": "/api", "headers": _headers},
        look=_look,
    )
faulty("429 without Retry-After", _BUSY, {**_BUSY, "path": "/api"})
_HUGE = {"status": 429, "headers": {"Retry-After": "864000"}}
faulty("429 for days, content", _HUGE, reason="hub_error", says=("model.gguf", "429"), look=waited_at_most(120))
faulty(
    "429 for days, metadata",
    {**_HUGE, "path": "/api"},
    reason="hub_error",
    says=("429",),
    look=waited_at_most(120),
    sent=0,
)
faulty("503 once", {"status": 503, "times": 1}, {"path": "/api", "status": 503, "times": 1})
faulty("503 for ever", {"status": 503}, reason="hub_error", says=("model.gguf", "503"))
faulty("503 for ever for metadata", {"path": "/api", "status": 503}, reason="hub_error", says=("503",), sent=0)
faulty(
    "a page for people",
    {"path": "/api", "text": "<html><body>Sign in to the wireless network</body></html>"},
    reason="hub_error",
    sent=0,
)
faulty(
    "a page for people instead of content",
    {"text": "<html>"},
    reason="transfer_failed",
    says=("model.gguf",),
    again=2 * ALL,
)


@row("redirect loop", reason="hub_error", says=("model.gguf", "redirects without end"))
def _redirect_loop(bench: Bench) -> None:
    bench.hub.fault("model.gguf", location=bench.hub.url)


@row("redirect loop of metadata", reason="unreachable", says=("redirects",), sent=0)
def _redirect_loop_of_metadata(bench: Bench) -> None:
    bench.hub.fault("/api", status=307, headers={"Location": f"{bench.hub.url}/api/models/{REPOSITORY}"})


@row("redirect to another host")
def _elsewhere(bench: Bench) -> t.Iterator[None]:
    with Hub("localhost") as elsewhere:
        elsewhere.publish(REPOSITORY, FILES)
        bench.hub.fault("model.gguf", location=elsewhere.url)
        yield
        assert elsewhere.authorized
        assert set(elsewhere.authorized) == {""}
        assert f"Bearer {TOKEN}" in bench.hub.authorized


@row("redirect of metadata to another host")
def _metadata_elsewhere(bench: Bench) -> t.Iterator[None]:
    with Hub("localhost") as elsewhere:
        elsewhere.publish(REPOSITORY, FILES)
        bench.hub.fault("/api", status=307, headers={"Location": f"{elsewhere.url}/api/models/{REPOSITORY}?blobs=true"})
        yield
        assert set(elsewhere.authorized) == {""}


# --- the host ---


@row("disk full in the middle", reason="no_space", says=("models/partial/sha256-",), kept=SIZE // 2 - (1 << 20))
def _disk_full(bench: Bench) -> t.Iterator[None]:
    bench.monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1 << 40))
    bench.stack.enter_context(disk(bench.store, SIZE // 2))
    yield
    bench.grow(bench.store, 4 * SIZE)


@row(
    "read-only store", reason="permission_denied", says=("/var/lib/llm/models", "read-only"), names_model=False, sent=0
)
def _read_only(bench: Bench) -> t.Iterator[None]:
    bench.stack.enter_context(disk(bench.store, 1 << 30))
    with read_only(bench.store):
        yield


@row(
    "forbidden store",
    reason="permission_denied",
    says=("/var/lib/llm/models",),
    names_model=False,
    sent=0,
    as_nobody=True,
)
def _forbidden(bench: Bench) -> t.Iterator[None]:
    bench.root.chmod(0o755)
    bench.store.mkdir(parents=True, mode=0o700)
    yield


@row("cache on another disk", sent=len(CONFIGURATION))
def _cache_elsewhere(bench: Bench) -> None:
    cache = bench.root / "cache"
    bench.stack.enter_context(disk(cache, 4 * SIZE))
    blobs = cache / "models--org--qwen" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / bench.digest("model.gguf")).write_bytes(WEIGHTS)
    bench.params["hub_caches"] = [str(cache)]


@row("file system without links")
def _no_links(bench: Bench) -> None:
    def link(*_paths: t.Any, **_words: t.Any) -> t.NoReturn:
        # What link(2) says on vfat and many network file systems.
        raise PermissionError(errno.EPERM, "Operation not permitted")

    bench.monkeypatch.setattr(os, "link", link)


@row("source on another disk", sent=0)
def _source_elsewhere(bench: Bench) -> None:
    place = bench.root / "source"
    bench.stack.enter_context(disk(place, 4 * SIZE))
    for path, data in FILES.items():
        (place / path).write_bytes(data)
        (place / path).chmod(0o644)
    bench.params |= {"source": "file", "path": str(place), "model": None, "placement": "link"}


@row("clock set back")
def _clock_back(bench: Bench) -> None:
    bench.jump(-10 * 365 * 86400)


@row("clock set forward after a cut", sent=ALL - 5_000_000)
def _clock_forward(bench: Bench) -> None:
    bench.jump(-86400)
    bench.cut_short(5_000_000)
    bench.jump(10 * 365 * 86400)


@pytest.mark.parametrize("name", ROWS)
def test_fault(bench: Bench, name: str) -> None:
    fault = ROWS[name]
    with happening(fault.harm, bench):
        params = {**bench.params, **fault.params}
        result = as_nobody(lambda: bench.pull(**params)) if fault.as_nobody else bench.pull(**params)
        sent = sum(bench.hub.settled().values())
        what = json.dumps(result)
        assert TOKEN not in what
        assert "Traceback" not in what
        if fault.look:
            fault.look(bench, result)
        if not fault.reason:
            assert result.get("changed") is True, result
            bench.assert_right(params.get("name", "qwen"))
            assert not [path for path in bench.partials if bench.digest("model.gguf") in path.name]
        else:
            assert result.get("reason") == fault.reason, result
            for said in (*fault.says, *([SUBJECT] if fault.names_model else [])):
                assert said in result["msg"]
            assert result["msg"].count("\n") == 0
            bench.assert_absent()
            assert bench.kept() >= fault.kept
    assert sent <= fault.sent, f"{sent} bytes were sent, {fault.sent} are the most"
    # Whatever it was, when it is over the next run brings what is missing, and the one after it has nothing to do.
    bench.forget()
    params = {key: value for key, value in params.items() if key not in ("endpoint", "timeout")}
    second = bench.pull(**params)
    sent = sum(bench.hub.settled().values())
    assert second.get("changed") is bool(fault.reason), second
    bench.assert_right(params.get("name", "qwen"))
    assert sent <= (fault.again if fault.reason else 0), f"{sent} bytes were sent again"
    assert bench.pull(**params)["changed"] is False
