# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_model` against a hub that speaks the real protocol to the real client."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import typing as t
from pathlib import Path

import pytest
from hub import Hub

WEIGHTS = bytes(range(256)) * 12_000
FILES = {"config.json": b'{"a": 1}', "model.gguf": WEIGHTS, "sub/tokenizer.json": b"{}", "README.md": b"hello"}
REPOSITORY = "org/qwen"

Pull = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def pull(run_module: Pull, hub: Hub, tmp_path: Path) -> Pull:
    hub.publish(REPOSITORY, FILES)
    base = {"prefix": str(tmp_path), "endpoint": hub.url, "timeout": 2}

    def call(**params: t.Any) -> dict[str, t.Any]:
        if "models" not in params:
            params = {"name": "qwen", "model": REPOSITORY, **params}
        return run_module("llm_model", **{**base, **params})

    return call


def store(tmp_path: Path) -> Path:
    return tmp_path / "var/lib/llm/models"


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder, to show that nothing was touched."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def manifest(tmp_path: Path) -> dict[str, t.Any]:
    models = json.loads((store(tmp_path) / "manifest.json").read_text())["models"]
    return {model["name"]: model for model in models}


def test_the_twelve_steps(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    """Create, again, modify, again, delete, again; each in check mode first, which tells the very same."""
    steps: list[tuple[dict[str, t.Any], bool]] = [
        ({}, True),
        ({}, False),
        ({"include": ["*.gguf"]}, True),
        ({"include": ["*.gguf"]}, False),
        ({"state": "absent"}, True),
        ({"state": "absent"}, False),
    ]
    for params, changes in steps:
        before = snapshot(tmp_path)
        foreseen = pull(check=True, **params)
        assert snapshot(tmp_path) == before, "check mode wrote"
        real = pull(**params)
        assert real.get("changed") is changes, real
        assert (foreseen["changed"], foreseen["diff"]) == (real["changed"], real["diff"]), params
        assert foreseen["plan"] == real["plan"]
    assert "qwen" not in manifest(tmp_path)
    assert not list((store(tmp_path) / "huggingface").iterdir())
    assert not list((store(tmp_path) / "partial").iterdir())


def test_a_model_is_whole_proven_and_recorded(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    result = pull()
    commit = hub.branches[REPOSITORY]["main"]
    folder = store(tmp_path) / f"huggingface/org--qwen@{commit}"
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == FILES
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o440 for path in folder.rglob("*") if path.is_file())
    record = manifest(tmp_path)["qwen"]
    assert record == result["models"][0]
    assert (record["revision"], record["status"], record["provider"]) == (commit, "installed", "huggingface")
    assert record["size_bytes"] == sum(map(len, FILES.values()))
    digests = {entry["path"]: entry["digest"] for entry in record["files"]}
    assert digests["model.gguf"] == f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"
    assert digests["config.json"].startswith("git-sha1:")


def test_a_run_with_nothing_to_do_asks_once_or_never(pull: Pull, hub: Hub) -> None:
    commit = pull()["models"][0]["revision"]
    hub.reset()
    assert pull()["changed"] is False
    assert sum(hub.requests.values()) == 1
    pull(revision=commit)
    hub.reset()
    assert pull(revision=commit)["changed"] is False
    assert sum(hub.requests.values()) == 0


def test_a_moved_branch_fetches_only_what_is_new(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    old = pull()["models"][0]["folder"]
    hub.publish(REPOSITORY, {**FILES, "config.json": b'{"a": 2}'})
    hub.reset()
    result = pull()
    assert dict(hub.sent) == {"config.json": 8}
    assert (Path(result["models"][0]["folder"]) / "model.gguf").read_bytes() == WEIGHTS
    assert not Path(old).exists()
    assert list(manifest(tmp_path)) == ["qwen"]


def test_a_branch_with_a_slash(pull: Pull, hub: Hub) -> None:
    commit = hub.publish(REPOSITORY, {"a.gguf": b"a"}, branch="refs/pr/1")
    assert pull(revision="refs/pr/1")["models"][0]["revision"] == commit


def test_a_list_is_one_task(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/other", {"x.gguf": b"x"})
    wanted = [{"name": "a", "model": REPOSITORY, "include": ["*.gguf"]}, {"name": "b", "model": "org/other"}]
    result = pull(models=wanted)
    assert [record["name"] for record in result["models"]] == ["a", "b"]
    assert result["models"][0]["local_path"].endswith("model.gguf")
    assert pull(models=wanted)["changed"] is False


def test_nothing_is_fetched_when_one_of_a_list_is_refused(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    result = pull(models=[{"name": "a", "model": REPOSITORY}, {"name": "b", "model": "org/none"}])
    assert result["failed"]
    assert not any("resolve" in request for request in hub.requests)
    assert not store(tmp_path).exists()


@pytest.mark.parametrize("cut", [0, 1, 1_000_000, len(WEIGHTS) - 1])
def test_a_cut_is_resumed_without_a_byte_twice(pull: Pull, hub: Hub, tmp_path: Path, cut: int) -> None:
    hub.fault("model.gguf", cut=cut, times=1)
    assert pull()["changed"]
    assert hub.sent["model.gguf"] == len(WEIGHTS)


def test_a_later_run_goes_on_where_the_link_was_lost(pull: Pull, hub: Hub) -> None:
    hub.fault("model.gguf", cut=1_000_000, times=1)
    hub.fault("model.gguf", cut=0)
    first = pull()
    assert first["reason"] == "transfer_failed"
    assert "Model qwen (huggingface org/qwen@main)" in first["msg"]
    assert first["details"]["bytes_received"] == 1_000_000
    assert pull(check=True)["changed"]
    hub.faults.clear()
    assert pull()["changed"]
    assert hub.sent["model.gguf"] == len(WEIGHTS)


def test_a_killed_process_is_resumed(tmp_path: Path, pull: Pull, hub: Hub) -> None:
    """A real process, killed in the middle of a slow transfer."""
    import multiprocessing
    import time

    hub.fault("model.gguf", rate=1_000_000, times=1)
    child = multiprocessing.get_context("fork").Process(target=pull)
    child.start()
    partial = store(tmp_path) / "partial" / f"sha256-{hashlib.sha256(WEIGHTS).hexdigest()}.partial"
    deadline = time.monotonic() + 10
    while not (partial.exists() and partial.stat().st_size > 500_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.join()
    have = partial.stat().st_size
    assert "qwen" not in (
        json.loads((store(tmp_path) / "manifest.json").read_text())
        if (store(tmp_path) / "manifest.json").exists()
        else {}
    )
    hub.reset()
    assert pull()["changed"]
    # What the broken connection is still pouring out must not be counted: what was asked for is.
    assert hub.ranges == [f"model.gguf {have}-{len(WEIGHTS)}"]


def test_a_flipped_bit_is_never_kept(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.fault("model.gguf", flip=12345)
    result = pull()
    assert result["reason"] == "checksum_mismatch"
    assert "model.gguf" in result["msg"]
    assert not (store(tmp_path) / "manifest.json").exists()
    hub.faults.clear()
    assert pull()["changed"]


def test_a_bad_byte_of_an_earlier_run_costs_one_refetch(pull: Pull, hub: Hub) -> None:
    hub.fault("model.gguf", flip=10, cut=1000, times=1)
    hub.fault("model.gguf", cut=0, times=6)
    assert pull()["reason"] == "transfer_failed"
    hub.reset()
    assert pull()["changed"]
    assert hub.sent["model.gguf"] == 2 * len(WEIGHTS) - 1000


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_a_busy_hub_is_asked_again(pull: Pull, hub: Hub, status: int) -> None:
    hub.fault("model.gguf", status=status, times=1, headers={"Retry-After": "0"})
    hub.fault("/api/models", status=status, times=1, headers={"Retry-After": "0"})
    assert pull()["changed"]


@pytest.mark.parametrize("words", [{"ignore_range": True}, {"status": 416, "times": 1}], ids=["200 to a Range", "416"])
def test_a_server_without_ranges_starts_anew(pull: Pull, hub: Hub, words: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", cut=1000, times=1)
    hub.fault("model.gguf", cut=0, times=5)
    assert pull()["failed"]
    hub.reset()
    hub.fault("model.gguf", **words)
    assert pull()["changed"]


def test_credentials_do_not_follow_to_another_host(pull: Pull, hub: Hub) -> None:
    with Hub("127.0.0.2") as elsewhere:
        elsewhere.publish(REPOSITORY, FILES)
        hub.fault("model.gguf", location=elsewhere.url)
        assert pull(token="hf_planted_secret")["changed"]
        assert set(elsewhere.authorized) == {""}
        assert "Bearer hf_planted_secret" in hub.authorized


REFUSALS: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], str, str]] = {
    "401": ({"path": "/api", "status": 401}, {}, "auth_error", "401"),
    "403": ({"path": "/api", "status": 403}, {}, "forbidden", "403"),
    "gated": (
        {"path": "/api", "status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
        {},
        "gated",
        "Accept its licence",
    ),
    "gated files": ({"path": "resolve", "status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, {}, "gated", "gated"),
    "404": ({}, {"model": "org/none"}, "not_found", "org/none"),
    "revision gone": ({}, {"revision": "v9"}, "not_found", "no revision 'v9'"),
    "no such file": ({}, {"include": ["*.bin"]}, "not_found", "*.bin"),
    "file gone": ({"path": "resolve", "status": 404}, {}, "not_found", "404"),
    "server error": ({"path": "/api", "status": 500}, {}, "hub_error", "500"),
    "hub down": ({}, {"endpoint": "http://127.0.0.1:9"}, "unreachable", "http://127.0.0.1:9"),
    "wrong checksum": ({}, {"include": ["*.gguf"], "sha256": "0" * 64}, "checksum_mismatch", "0" * 64),
    "quota": ({}, {"max_disk_gb": 0.001}, "quota_exceeded", "0.001 GB"),
    "too large": ({}, {"max_model_gb": 0.001}, "too_large", "allow_large"),
    "parent name": ({}, {"name": "../x"}, "invalid_name", "../x"),
    "absolute name": ({}, {"name": "/x"}, "invalid_name", "/x"),
    "empty name": ({}, {"name": ""}, "invalid_name", "empty"),
    "long name": ({}, {"name": "x" * 300}, "invalid_name", "300 characters"),
    "bad repository": ({}, {"model": "../../etc"}, "invalid_name", "'..'"),
    "missing path": ({}, {"source": "file", "path": "/nowhere/m.gguf"}, "path_missing", "/nowhere/m.gguf"),
}


@pytest.mark.parametrize(("fault", "params", "reason", "words"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_cannot_be_done_is_said_in_one_sentence(
    pull: Pull, hub: Hub, tmp_path: Path, fault: dict[str, t.Any], params: dict[str, t.Any], reason: str, words: str
) -> None:
    kept = pull(name="kept")
    assert kept["changed"]
    if fault:
        hub.fault(**fault)
    hub.publish(
        REPOSITORY,
        {**FILES, "model.gguf": WEIGHTS[::-1], "new.gguf": b"new"} if reason != "checksum_mismatch" else FILES,
    )
    result = pull(**params)
    assert result["failed"]
    assert result["reason"] == reason
    assert words in result["msg"]
    assert "Traceback" not in json.dumps(result)
    # One sentence on what is wrong, then the remedy.
    assert result["msg"].count("\n") == 0
    assert list(manifest(tmp_path)) == ["kept"]
    assert (Path(manifest(tmp_path)["kept"]["folder"]) / "model.gguf").read_bytes() == WEIGHTS


def test_the_sentence_names_thing_place_cause_and_remedy(pull: Pull, hub: Hub) -> None:
    hub.fault("/api", status=403, headers={"X-Error-Code": "GatedRepo"})
    assert pull()["msg"] == (
        f"Model qwen (huggingface org/qwen@main): the hub {hub.url} answered 403, the repository is gated. "
        "Accept its licence on the hub and pass hf_token."
    )


def test_a_full_disk_is_refused_before_the_first_byte(pull: Pull, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=70_000_000 - 1_000_000))
    result = pull()
    assert result["reason"] == "no_space"
    assert not hub.sent


@pytest.mark.parametrize("harm", ["{ half", "", "[]", None, "cut"])
def test_a_lost_manifest_is_made_anew_without_fetching(pull: Pull, hub: Hub, tmp_path: Path, harm: str | None) -> None:
    before = pull()["models"][0]
    path = store(tmp_path) / "manifest.json"
    text = path.read_text()
    harmed = text[: len(text) // 2] if harm == "cut" else harm
    path.unlink() if harmed is None else path.write_text(harmed)
    hub.reset()
    foreseen = pull(check=True)
    assert path.exists() is (harmed is not None), "check mode wrote"
    real = pull()
    assert (foreseen["changed"], foreseen["diff"]) == (real["changed"], real["diff"])
    assert real["changed"]
    assert str(path) in real["healed"][0]
    assert manifest(tmp_path)["qwen"] == before
    assert not hub.sent
    assert pull()["changed"] is False
    aside = [file.read_text() for file in path.parent.glob("manifest.json.broken*")]
    assert aside == ([] if harmed is None else [harmed])


def test_a_model_that_went_is_told(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/other", {"x.gguf": b"x"})
    folder = Path(pull()["models"][0]["folder"])
    shutil.rmtree(folder)
    result = pull(name="other", model="org/other")
    assert "is gone" in result["healed"][0]
    assert manifest(tmp_path)["qwen"]["status"] == "failed"
    assert pull()["models"][0]["status"] == "installed"


def test_a_forbidden_store_is_named(pull: Pull, tmp_path: Path) -> None:
    pull()
    store(tmp_path).chmod(0)
    try:
        result = as_nobody(pull) if os.geteuid() == 0 else pull()
    finally:
        store(tmp_path).chmod(0o750)
    assert result["reason"] == "permission_denied"
    assert str(tmp_path) in result["msg"]
    assert pull()["changed"] is False


def as_nobody(pull: Pull) -> dict[str, t.Any]:
    """Run in a child that has given root away."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.seteuid(65534)
        with os.fdopen(writing, "w") as out:
            json.dump(pull(), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        result: dict[str, t.Any] = json.load(answer)
    os.wait()
    return result


def test_a_missing_file_is_brought_back(pull: Pull, hub: Hub) -> None:
    record = pull()["models"][0]
    (Path(record["folder"]) / "model.gguf").unlink()
    hub.reset()
    assert pull()["changed"]
    assert dict(hub.sent) == {"model.gguf": len(WEIGHTS)}
    assert pull()["changed"] is False


def test_a_file_on_the_host(pull: Pull, run_module: Pull, tmp_path: Path) -> None:
    source = tmp_path / "tuned.gguf"
    source.write_bytes(WEIGHTS)
    params = {"name": "tuned", "source": "file", "path": str(source), "model": None}
    first = pull(**params)
    assert first["models"][0]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert pull(**params)["changed"] is False
    source.write_bytes(WEIGHTS[::-1])
    assert pull(**params)["changed"]
    assert source.exists()
    assert pull(**params, state="absent")["changed"]
    assert source.exists()


def test_a_folder_on_the_host(pull: Pull, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path, data in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    record = pull(name="tuned", source="file", path=str(source), model=None)["models"][0]
    assert sorted(entry["path"] for entry in record["files"]) == sorted(FILES)


def test_a_planted_token_is_nowhere(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    secret = "hf_planted_secret"
    results = [pull(token=secret), pull(token=secret), pull(token=secret, model="org/none")]
    hub.fault("/api", status=401)
    results.append(pull(token=secret))
    for fault in ({"path": "resolve", "status": 403}, {"path": "resolve", "cut": 0}):
        hub.reset()
        hub.fault(**fault)
        hub.publish("org/more", {"m.gguf": b"m" * 1000})
        results.append(pull(token=secret, name="more", model="org/more"))
    assert secret not in json.dumps(results)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert f"Bearer {secret}" in hub.authorized


def test_two_runs_at_once_both_end_right(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    import multiprocessing

    hub.fault("model.gguf", rate=5_000_000)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=pull, kwargs={"name": name}) for name in ("a", "b")]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sorted(manifest(tmp_path)) == ["a", "b"]
    assert pull(name="a")["changed"] is False
    assert pull(name="b")["changed"] is False


# As Gemma's: a message that is no user's or model's turn is refused.
NO_SYSTEM_ROLE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] }}"
    "<end_of_turn>\n{% endfor %}"
)


def test_capabilities_come_from_the_files(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.publish(
        "org/gemma",
        {
            "config.json": json.dumps({"max_position_embeddings": 8192, "torch_dtype": "bfloat16"}).encode(),
            "tokenizer_config.json": json.dumps({"bos_token": "<bos>", "chat_template": NO_SYSTEM_ROLE}).encode(),
            "model.safetensors": b"weights",
        },
    )
    record = pull(model="org/gemma")["models"][0]
    assert record["capabilities"]["supports_system_role"] is False
    assert record["capabilities"]["allowed_roles"] == ["user", "assistant"]
    assert record["capabilities"]["max_context_length"] == 8192
    assert record["capabilities"]["supports_structured_output"] is None
    assert pull(model="org/gemma")["changed"] is False
    assert manifest(tmp_path)["qwen"]["capabilities"] == record["capabilities"]


def test_a_gguf_says_itself_what_it_can_take(pull: Pull, hub: Hub, reciters: Path) -> None:
    hub.publish("org/alpha", {"alpha.gguf": (reciters / "alpha.gguf").read_bytes()})
    read = pull(model="org/alpha")["models"][0]["capabilities_read"]
    assert read["quantization"] == "F32"
    assert read["max_context_length"] > 0


def test_what_is_unused_makes_room(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    for number in range(3):
        hub.publish(f"org/m{number}", {"w.bin": bytes([number]) * 1_000_000})
    pull(name="old", model="org/m0")
    pull(name="precious", model="org/m1", pinned=True)
    params = {"name": "new", "model": "org/m2", "max_disk_gb": 0.0025}
    assert pull(**params)["reason"] == "quota_exceeded"
    assert pull(**params, check=True, evict="unused")["plan"]["steps"][0]["action"] == "evict"
    result = pull(**params, evict="unused")
    assert sorted(manifest(tmp_path)) == ["new", "precious"]
    assert result["diff"][0]["after"] == (
        "evict old: 1.0 MB\nfetch new: 1.0 MB to fetch\nstore 2.0 MB -> 2.0 MB of 0.0025 GB\n"
    )
    assert pull(**{**params, "name": "more", "model": "org/m0", "max_disk_gb": 0.0015}, evict="unused")["reason"] == (
        "quota_exceeded"
    )
    assert sorted(manifest(tmp_path)) == ["new", "precious"]


def test_bytes_that_another_pull_is_about_to_take_are_not_free(
    pull: Pull, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from ansible_collections.llmops.fleet.plugins.module_utils._host import reservation

    folder = tmp_path / "run/llm/reservations"
    folder.mkdir(parents=True)
    other = {"pid": 1, "started_at": reservation.running_since(1), "device": tmp_path.stat().st_dev, "bytes": 10**9,
             "folder": str(tmp_path / "none"), "there": 0}  # fmt: skip
    (folder / "1.json").write_text(json.dumps(other))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**9))
    result = pull()
    assert result["reason"] == "no_space"
    assert "1.000 GB more are spoken for by other pulls" in result["msg"]
    # A dead run's word counts no more.
    (folder / "1.json").write_text(json.dumps({**other, "started_at": 1.0}))
    assert pull()["changed"]
    assert [path.name for path in folder.iterdir()] == ["1.json"]


def test_a_limit_on_bandwidth_is_kept(pull: Pull, hub: Hub) -> None:
    import time

    started = time.monotonic()
    pull(max_mb_per_second=3)
    # Not a speed that is promised, but the least time that the limit leaves.
    assert time.monotonic() - started > len(WEIGHTS) / 3e6 * 0.8


def test_a_record_of_an_older_version_is_mended(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    pull()
    path = store(tmp_path) / "manifest.json"
    document = json.loads(path.read_text())
    for key in ("capabilities_read", "capabilities_override", "pinned", "declared_size", "selection", "origin"):
        document["models"][0].pop(key)
    document["models"][0]["colour"] = "green"
    document["house"] = "of another version"
    path.write_text(json.dumps(document))
    hub.reset()
    assert pull()["changed"] is False
    assert pull(pinned=True)["changed"]
    assert not hub.sent
    assert manifest(tmp_path)["qwen"]["colour"] == "green"
    assert json.loads(path.read_text())["house"] == "of another version"


def test_what_two_models_share_is_fetched_once(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/copy", {"other-name.gguf": WEIGHTS, "config.json": b"[]"})
    pull()
    hub.reset()
    result = pull(name="copy", model="org/copy")
    assert dict(hub.sent) == {"config.json": 2}
    assert result["plan"]["steps"][0]["bytes_here"] == len(WEIGHTS)
    one, other = (Path(manifest(tmp_path)[name]["folder"]) for name in ("qwen", "copy"))
    assert (one / "model.gguf").stat().st_ino == (other / "other-name.gguf").stat().st_ino
    pull(state="absent")
    assert (other / "other-name.gguf").read_bytes() == WEIGHTS


def test_state_verified_repairs(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    path = Path(pull()["models"][0]["folder"]) / "model.gguf"
    assert pull(state="verified")["changed"] is False
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.write(b"\xff\xff")
    assert pull()["changed"] is False
    foreseen = pull(state="verified", check=True)
    assert path.read_bytes() != WEIGHTS
    real = pull(state="verified")
    assert (foreseen["changed"], foreseen["diff"]) == (real["changed"], real["diff"])
    assert real["plan"]["steps"][0]["damaged"] == ["model.gguf"]
    assert path.read_bytes() == WEIGHTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert pull(state="verified")["changed"] is False


def generation_serving(tmp_path: Path, record: dict[str, t.Any]) -> None:
    """A runtime of the host whose kept generation serves this model."""
    folder = tmp_path / "var/lib/llm/runtimes/chat/generations"
    folder.mkdir(parents=True)
    model = {key: record[key] for key in ("name", "provider", "model", "revision", "sha256", "folder", "size_bytes")}
    generation = {"number": 1, "runtime": "chat", "time": "2026-11-21T10:00:00Z", "status": "active", "engine": "x",
                  "engine_version": "1", "model": {**model, "path": record["local_path"]}, "served_names": ["chat"],
                  "spec": {}, "environment": {}, "definition": "", "proof": {}, "reason": ""}  # fmt: skip
    (folder / "1.json").write_text(json.dumps(generation))


def test_another_choice_leaves_what_a_runtime_serves(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("org/choice", {"q4.gguf": b"q4" * 100, "q5.gguf": b"q5" * 100})
    params = {"model": "org/choice", "revision": commit}
    old = pull(**params, include=["q4*"])["models"][0]
    generation_serving(tmp_path, old)
    new = pull(**params, include=["q5*"])["models"][0]
    assert Path(old["local_path"]).read_bytes() == b"q4" * 100
    assert Path(new["local_path"]).read_bytes() == b"q5" * 100
    assert len(manifest(tmp_path)) == 2


def test_a_run_that_dies_after_the_commit_loses_no_model(
    pull: Pull, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.llmops.fleet.plugins.module_utils._work import ensure_model

    hub.publish("org/moving", {"config.json": json.dumps({"max_position_embeddings": 1}).encode()})
    generation_serving(tmp_path, pull(model="org/moving")["models"][0])
    hub.publish("org/moving", {"config.json": json.dumps({"max_position_embeddings": 2}).encode()})

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ensure_model.ModelTask, "_without_the_superseded", killed)
        with pytest.raises(KeyboardInterrupt):
            pull(model="org/moving")
    assert pull(model="org/moving")["changed"] is False
    folders = [path.name for path in (store(tmp_path) / "huggingface").iterdir()]
    assert sorted(Path(record["folder"]).name for record in manifest(tmp_path).values()) == sorted(folders)
    assert manifest(tmp_path)["qwen"]["capabilities"]["max_context_length"] == 2


def test_bytes_that_are_no_text_heal_as_well(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    pull()
    path = store(tmp_path) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"qwen", b"q\xffen", 1)[:-5])
    (tmp_path / "var/lib/llm/operations.jsonl").write_bytes(b"\xff\xfe\n")
    hub.reset()
    assert pull()["healed"]
    assert not hub.sent


def test_verified_looks_at_all_files_though_one_is_missing(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    folder = Path(pull()["models"][0]["folder"])
    (folder / "config.json").unlink()
    (folder / "model.gguf").chmod(0o640)
    with (folder / "model.gguf").open("r+b") as file:
        file.write(b"\xff")
    assert sorted(pull(state="verified")["plan"]["steps"][0]["damaged"]) == ["config.json", "model.gguf"]
    assert pull(state="verified")["changed"] is False


def test_verified_does_not_take_over_somebody_elses_rot(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    rotten = Path(pull()["models"][0]["folder"]) / "model.gguf"
    rotten.chmod(0o640)
    with rotten.open("r+b") as file:
        file.write(b"\xff")
    hub.publish("org/copy", {"other.gguf": WEIGHTS})
    made = pull(name="copy", model="org/copy", state="verified")["models"][0]
    assert Path(made["local_path"]).read_bytes() == WEIGHTS
    assert rotten.read_bytes() == WEIGHTS


def test_an_address_with_a_password_is_refused(pull: Pull) -> None:
    result = pull(endpoint="http://me:planted@127.0.0.1:9")
    assert result["reason"] == "invalid_input"
    assert "planted" not in json.dumps(result)


def test_a_long_name_has_a_folder(pull: Pull, tmp_path: Path, reciters: Path) -> None:
    name = "n" * 250
    made = pull(name=name, source="file", path=str(reciters / "alpha.gguf"))
    assert made["changed"]
    assert Path(made["models"][0]["local_path"]).is_file()


def test_who_waits_for_another_run_is_not_refused_for_its_reservation(
    pull: Pull, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    from types import SimpleNamespace

    from ansible_collections.llmops.fleet.plugins.module_utils._host.lock import hold
    from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner

    pull(name="first", model=REPOSITORY, include=["config.json"])
    room = SimpleNamespace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: room)
    taken = threading.Event()

    def other() -> None:
        with hold(store(tmp_path) / "locks/store.lock", what="it", timeout=5, owner=Owner()):
            taken.set()
            threading.Event().wait(1)
            room.free = 10**12

    thread = threading.Thread(target=other)
    thread.start()
    taken.wait(5)
    assert pull()["changed"]
    thread.join()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"placement": "link"}, "placement is no option of the source huggingface"),
        ({"create": {"from": "x"}}, "create is no option of the source huggingface"),
        ({"capabilities": {"supports_system_role": "maybe"}}, "supports_system_role cannot be 'maybe'"),
        ({"capabilities": {"max_context_length": -4}}, "max_context_length cannot be -4"),
        ({"workers": 99999999}, "workers 1e+08 is not between 1 and 64"),
        ({"workers": 0}, "workers 0 is not between"),
        ({"max_mb_per_second": -3}, "max_mb_per_second -3 is not between"),
        ({"max_disk_gb": float("inf")}, "max_disk_gb inf is not between"),
        ({"max_disk_gb": float("nan")}, "max_disk_gb nan is not between"),
        ({"timeout": -1}, "timeout -1 is not between"),
        ({"model": None}, "model is missing"),
        ({"source": "url"}, "url is missing"),
        ({"source": "file"}, "path is missing"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(pull: Pull, params: dict[str, t.Any], said: str) -> None:
    result = pull(**params)
    assert result["reason"] == "invalid_input"
    assert said in result["msg"]


def test_what_frees_nothing_stays(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/two", {"w.bin": b"2" * 1_000_000})
    hub.publish("org/small", {"w.bin": b"s" * 1_000_000})
    hub.publish("org/new", {"w.bin": b"n" * 1_000_000})
    pull(name="shared", model="org/two")
    pull(name="pinned", model="org/two", pinned=True)
    pull(name="small", model="org/small")
    pull(name="new", model="org/new", max_disk_gb=0.0025, evict="unused")
    assert sorted(manifest(tmp_path)) == ["new", "pinned", "shared"]


def test_a_folder_used_in_place_that_rots_is_told(pull: Pull, reciters: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(reciters, own)
    params = {"source": "file", "path": str(own), "placement": "reference", "model": None}
    pull(**params)
    assert pull(**params, state="verified")["changed"] is False
    (own / "alpha.gguf").write_bytes(b"other")
    result = pull(**params, state="verified")
    assert result["reason"] == "checksum_mismatch"
    assert "no longer what was recorded" in result["msg"]
    assert pull(**params)["changed"]
