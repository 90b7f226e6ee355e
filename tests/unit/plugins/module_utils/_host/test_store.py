# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import GIT_BLOB, SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import FileEntry, InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.ports import Sink
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.partial import PartialFile
from ansible_collections.llmops.fleet.plugins.module_utils._host.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "models"), Owner())
    with made.locked(1):
        pass
    return made


def entry(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, len(data), Digest(SHA256, hashlib.sha256(data).hexdigest()))


def pour(data: bytes) -> t.Callable[[Sink], None]:
    return lambda sink: sink.write(data[sink.offset :])


def record(store: Store, name: str, folder: str, *files: FileEntry) -> InstalledModel:
    return InstalledModel(
        name=name,
        provider="file",
        model="x",
        requested_revision="",
        revision="r",
        selection={},
        folder=str(store.path / "file" / folder),
        files=files,
        sha256="",
        installed_at="",
    )


def install(
    store: Store, name: str, folder: str, files: dict[str, bytes], old: InstalledModel | None = None
) -> InstalledModel:
    entries = [entry(path, data) for path, data in files.items()]
    for file, data in zip(entries, files.values()):
        if file.digest not in store.proven([file]):
            store.receive(file, pour(data))
    made = record(store, name, folder, *entries)
    store.commit(made, old, "now")
    return made


def left_behind(store: Store) -> list[str]:
    return os.listdir(store.path / "partial")


def test_a_model_is_there_whole_and_read_only(store: Store) -> None:
    made = install(store, "a", "a@1", {"config.json": b"{}", "sub/weights": b"w" * 1000})
    assert (Path(made.folder) / "sub/weights").read_bytes() == b"w" * 1000
    assert oct((Path(made.folder) / "config.json").stat().st_mode)[-3:] == "440"
    assert store.intact(made)
    assert store.manifest().models["a"].files == made.files
    assert left_behind(store) == []


def test_wrong_bytes_are_never_kept(store: Store) -> None:
    file = entry("x", b"right")
    with pytest.raises(LlmError) as caught:
        store.receive(file, pour(b"wrong"))
    assert caught.value.reason == "checksum_mismatch"
    assert store.proven([file]) == set()
    assert store.arrived(file) == 0


def test_a_wrong_byte_left_by_an_earlier_run_costs_one_more_try(store: Store) -> None:
    file = entry("x", b"right")
    (store.path / "partial" / f"sha256-{file.digest.value}.partial").write_bytes(b"wr")
    store.receive(file, pour(b"right"))
    assert file.digest in store.proven([file])


def test_a_broken_transfer_keeps_what_arrived(store: Store) -> None:
    file = entry("x", b"0123456789")

    def break_off(sink: Sink) -> None:
        sink.write(b"01234")
        raise LlmError("transfer_failed", "cut.")

    with pytest.raises(LlmError):
        store.receive(file, break_off)
    assert store.arrived(file) == 5
    asked = []

    def go_on(sink: Sink) -> None:
        asked.append(sink.offset)
        sink.write(b"56789")

    store.receive(file, go_on)
    assert asked == [5]
    assert file.digest in store.proven([file])


@pytest.mark.parametrize("length", [11, 100])
def test_a_longer_partial_is_started_anew(store: Store, length: int) -> None:
    file = entry("x", b"0123456789")
    (store.path / "partial" / f"sha256-{file.digest.value}.partial").write_bytes(b"x" * length)
    store.receive(file, pour(b"0123456789"))
    assert file.digest in store.proven([file])


def test_more_bytes_than_promised_are_refused(store: Store) -> None:
    file = entry("x", b"0123456789")
    with pytest.raises(LlmError) as caught:
        store.receive(file, lambda sink: sink.write(b"0" * 11))
    assert caught.value.reason == "transfer_failed"


def test_git_files_are_proven_by_their_blob_id(tmp_path: Path) -> None:
    data = b"hello\n"
    # `printf 'hello\n' | git hash-object --stdin`
    file = FileEntry("x", len(data), Digest(GIT_BLOB, "ce013625030ba8dba906f756967f9e9ca394464a"))
    with PartialFile(tmp_path, file) as sink:
        sink.write(data)
        assert sink.prove()


def test_an_empty_file_is_a_file(store: Store) -> None:
    made = install(store, "a", "a@1", {"empty": b""})
    assert (Path(made.folder) / "empty").stat().st_size == 0


def test_two_choices_of_one_revision_live_side_by_side(store: Store) -> None:
    small = install(store, "small", "same@1", {"q4.gguf": b"q4"})
    large = install(store, "large", "same@1", {"q8.gguf": b"q8"})
    assert store.intact(small)
    assert store.intact(large)
    manifest = store.manifest()
    store.write_manifest(manifest.without("small", "now"))
    store.discard(small)
    assert not store.intact(small)
    assert store.intact(large)


def test_another_choice_under_the_same_name_leaves_no_orphan(store: Store) -> None:
    old = install(store, "a", "same@1", {"q4.gguf": b"q4"})
    install(store, "a", "same@1", {"q8.gguf": b"q8"}, old)
    assert os.listdir(old.folder) == ["q8.gguf"]


def test_a_kill_before_the_manifest_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            install(store, "a", "a@1", {"x": b"bytes"})
    assert "a" not in store.manifest().models
    file = entry("x", b"bytes")
    assert file.digest in store.proven([file])
    made = install(store, "a", "a@1", {"x": b"bytes"})
    assert store.intact(made)
    assert left_behind(store) == []


@pytest.mark.parametrize("folder", ["/etc", "../outside"])
def test_nothing_outside_the_store_is_removed(store: Store, tmp_path: Path, folder: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("precious")
    doomed = record(store, "a", "a@1", entry("x", b"precious"))
    doomed = InstalledModel(**{**doomed.__dict__, "folder": str(store.path / folder)})
    with pytest.raises(LlmError):
        store.discard(doomed)
    assert (outside / "x").read_text() == "precious"


def test_a_link_is_not_followed_out_of_the_store(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("precious")
    (store.path / "file").mkdir()
    (store.path / "file" / "a@1").symlink_to(outside)
    with pytest.raises(LlmError):
        store.discard(record(store, "a", "a@1", entry("x", b"precious")))
    assert (outside / "x").read_text() == "precious"


def test_a_second_writer_waits_and_is_told_who_holds_the_lock(store: Store) -> None:
    with store.locked(1), pytest.raises(LlmError) as caught, store.locked(0.2):
        pass
    assert caught.value.reason == "locked"
    assert str(os.getpid()) in caught.value.what
