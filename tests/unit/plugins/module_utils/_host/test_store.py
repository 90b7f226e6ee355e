# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import GIT_BLOB, SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.manifest import Manifest
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import FileEntry, InstalledModel
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


class Bytes:
    """An origin that has the bytes at hand; it breaks off after `cut` of them, and tells what was read."""

    connections = 1

    def __init__(self, data: bytes, cut: int | None = None) -> None:
        self.data, self.cut, self.read_ranges = data, cut, []

    def doubt(self) -> None:
        pass

    def read(self, start: int, stop: int) -> t.Iterator[bytes]:
        self.read_ranges.append((start, stop))
        if self.cut is not None and self.cut < stop:
            yield self.data[start : self.cut]
            raise LlmError("transfer_failed", "cut.")
        yield self.data[start:stop]


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
        if file.digest not in store.copies([file], []):
            store.receive(file, Bytes(data))
    made = record(store, name, folder, *entries)
    store.commit(made, old, store.manifest(), "now")
    return made


def left(store: Store, file: FileEntry, data: bytes, chunk: int = 1 << 24) -> None:
    """What an earlier run left of a file, its own account of the parts included."""
    whole = FileEntry(file.path, max(file.size, len(data) + 1), file.digest)
    with PartialFile(store.path / "partial", whole, chunks=store.path / "chunks", chunk=chunk) as partial:
        partial.write(data)


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
        store.receive(file, Bytes(b"wrong"))
    assert caught.value.reason == "checksum_mismatch"
    assert store.copies([file], []) == {}
    assert store.arrived(file) == 0


def test_a_wrong_byte_left_by_an_earlier_run_costs_one_more_try(store: Store) -> None:
    file = entry("x", b"right")
    left(store, file, b"wr")
    origin = Bytes(b"right")
    store.receive(file, origin)
    assert origin.read_ranges == [(2, 5), (0, 5)]
    assert file.digest in store.copies([file], [])


def test_a_broken_transfer_keeps_what_arrived(store: Store) -> None:
    file = entry("x", b"0123456789")

    with pytest.raises(LlmError):
        store.receive(file, Bytes(b"0123456789", cut=5))
    assert store.arrived(file) == 5
    origin = Bytes(b"0123456789")
    store.receive(file, origin)
    assert origin.read_ranges == [(5, 10)]
    assert file.digest in store.copies([file], [])


@pytest.mark.parametrize("length", [11, 100])
def test_a_longer_partial_is_started_anew(store: Store, length: int) -> None:
    file = entry("x", b"0123456789")
    (store.path / "partial" / f"sha256-{file.digest.value}.partial").write_bytes(b"x" * length)
    store.receive(file, Bytes(b"0123456789"))
    assert file.digest in store.copies([file], [])


def test_more_bytes_than_promised_are_refused(store: Store) -> None:
    file = entry("x", b"0123456789")
    with pytest.raises(LlmError) as caught, PartialFile(store.path / "partial", file) as partial:
        partial.write(b"0" * 11)
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
    store.remove(small, store.manifest().without("small", "now"))
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
    # The folder was there already; a record of its own lets the next reader know it.
    reading = store.reading()
    assert store.intact(reading.manifest.models["a"])
    assert "did not know it" in reading.healed[0] or "was missing" in reading.healed[0]
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
        store.remove(doomed, Manifest())
    assert (outside / "x").read_text() == "precious"


def test_a_link_is_not_followed_out_of_the_store(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("precious")
    (store.path / "file").mkdir()
    (store.path / "file" / "a@1").symlink_to(outside)
    with pytest.raises(LlmError):
        store.remove(record(store, "a", "a@1", entry("x", b"precious")), Manifest())
    assert (outside / "x").read_text() == "precious"


def test_a_second_writer_waits_and_is_told_who_holds_the_lock(store: Store) -> None:
    with store.locked(1), pytest.raises(LlmError) as caught, store.locked(0.2):
        pass
    assert caught.value.reason == "locked"
    assert str(os.getpid()) in caught.value.what


def flipped(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_what_was_left_costs_its_part_only(tmp_path: Path) -> None:
    data = os.urandom(100)
    file = entry("x", data)
    with PartialFile(tmp_path, file, chunk=10) as partial:
        partial.write(data[:75])
    flipped(partial.path, 13, 61)
    origin = Bytes(data)
    with PartialFile(tmp_path, file, chunk=10) as partial:
        assert partial.offset == 75
        partial.mend(origin)
        partial.write(data[75:])
        assert partial.prove()
    assert origin.read_ranges == [(10, 20), (60, 70)]


def killed_after(tmp_path: Path, file: FileEntry, listed: bytes, unlisted: bytes) -> PartialFile:
    """What a killed run leaves: bytes in the file that its list of parts does not have."""
    with PartialFile(tmp_path, file, chunk=10) as partial:
        partial.write(listed)
    with partial.path.open("ab") as more:
        more.write(unlisted)
    return partial


def test_what_a_killed_run_wrote_last_is_used(tmp_path: Path) -> None:
    data = os.urandom(100)
    file = entry("x", data)
    killed_after(tmp_path, file, data[:40], data[40:57])
    with PartialFile(tmp_path, file, chunk=10) as partial:
        assert partial.offset == 57
        partial.write(data[57:])
        assert partial.prove()


def test_what_a_power_cut_left_wrong_costs_itself_only(store: Store) -> None:
    data = os.urandom(100)
    small = Store(str(store.path), Owner(), chunk=10)
    file = entry("x", data)
    with pytest.raises(LlmError):
        small.receive(file, Bytes(data, cut=40))
    partial = store.path / "partial" / f"sha256-{file.digest.value}.partial"
    with partial.open("ab") as more:
        more.write(bytes(17))
    origin = Bytes(data)
    small.receive(file, origin)
    assert origin.read_ranges == [(57, 100), (40, 50), (50, 57)]
    assert file.digest in store.copies([file], [])


@pytest.mark.parametrize("length", [0, 1, 25, 39])
def test_a_shortened_partial_keeps_its_whole_parts(tmp_path: Path, length: int) -> None:
    data = os.urandom(100)
    file = entry("x", data)
    with PartialFile(tmp_path, file, chunk=10) as partial:
        partial.write(data[:40])
    os.truncate(partial.path, length)
    with PartialFile(tmp_path, file, chunk=10) as partial:
        assert partial.offset == length
        partial.write(data[partial.offset :])
        assert partial.prove()
