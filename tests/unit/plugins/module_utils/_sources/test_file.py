# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are on the host already: copied, linked, or used where they are."""

from __future__ import annotations

import os
import tempfile
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from .conftest import Run

DATA = b"GGUF" + bytes(range(256)) * 2000
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(DATA)
    path.chmod(0o644)
    return path


def placed(result: dict[str, t.Any]) -> Path:
    return Path(result["models"][0]["local_path"])


def shared(one: Path, other: Path) -> bool:
    """Whether two names are one file; a file system that shares blocks has two inodes instead."""
    return one.stat().st_ino == other.stat().st_ino


def test_a_copy_is_a_file_of_its_own(foreseen: Run, file: Path) -> None:
    params = {"source": "file", "path": str(file)}
    copy = placed(foreseen(**params))
    assert copy.read_bytes() == DATA
    assert not shared(copy, file)
    assert foreseen(**params)["changed"] is False
    file.write_bytes(DATA[::-1])
    changed = foreseen(**params)
    assert changed["changed"]
    assert placed(changed).read_bytes() == DATA[::-1]
    assert not copy.exists()
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="absent")["changed"]
    assert (file.read_bytes(), placed(changed).exists()) == (DATA[::-1], False)


def test_a_touched_file_is_the_same_model(foreseen: Run, file: Path) -> None:
    params = {"source": "file", "path": str(file)}
    foreseen(**params)
    os.utime(file, (1, 1))
    assert foreseen(**params)["changed"] is False


def test_a_link_takes_no_room(foreseen: Run, file: Path) -> None:
    params = {"source": "file", "path": str(file), "placement": "link"}
    before, blocks = file.stat(), os.statvfs(file).f_bfree
    link = placed(foreseen(**params))
    assert link.read_bytes() == DATA
    assert shared(link, file) or os.statvfs(file).f_bfree > blocks - len(DATA) // 4096
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="absent")["changed"]
    assert (file.read_bytes(), link.exists()) == (DATA, False)


def test_a_linked_file_that_was_replaced_is_changed(foreseen: Run, file: Path) -> None:
    params = {"source": "file", "path": str(file), "placement": "link"}
    foreseen(**params)
    new = file.with_name("new")
    new.write_bytes(DATA[::-1])
    new.replace(file)
    changed = foreseen(**params)
    assert changed["changed"]
    assert placed(changed).read_bytes() == DATA[::-1]
    assert foreseen(**params)["changed"] is False


def test_a_file_that_not_everybody_may_read_is_copied(foreseen: Run, file: Path) -> None:
    file.chmod(0o600)
    link = placed(foreseen(source="file", path=str(file), placement="link"))
    assert link.read_bytes() == DATA
    assert not shared(link, file)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="no second file system")
def test_a_link_to_another_file_system_is_a_copy(foreseen: Run, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        file = Path(folder) / "model.gguf"
        file.write_bytes(DATA)
        if file.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one file system")
        params = {"source": "file", "path": str(file), "placement": "link"}
        copy = placed(foreseen(**params))
        assert copy.stat().st_dev == tmp_path.stat().st_dev
        assert copy.read_bytes() == DATA
        assert foreseen(**params)["changed"] is False


def test_a_reference_leaves_the_file_where_it_is(foreseen: Run, file: Path, tmp_path: Path) -> None:
    params = {"source": "file", "path": str(file), "placement": "reference"}
    made = foreseen(**params)
    record = made["models"][0]
    assert (placed(made), record["folder"], record["size_bytes"]) == (file, "", len(DATA))
    assert made["plan"]["bytes_to_fetch"] == 0
    assert not list((tmp_path / "host").rglob("*.gguf"))
    assert foreseen(**params)["changed"] is False
    file.write_bytes(DATA[::-1])
    changed = foreseen(**params)
    assert changed["changed"]
    assert changed["models"][0]["revision"] != record["revision"]
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="absent")["changed"]
    assert file.read_bytes() == DATA[::-1]


def test_a_folder_is_referred_to_as_one(foreseen: Run, file: Path) -> None:
    (file.parent / "config.json").write_bytes(b"{}")
    params = {"source": "file", "path": str(file.parent), "placement": "reference"}
    assert placed(foreseen(**params)) == file.parent
    (file.parent / "more.json").write_bytes(b"{}")
    assert foreseen(**params)["changed"]
    assert foreseen(**params, state="absent")["changed"]
    assert len(list(file.parent.iterdir())) == 3


def test_a_placement_can_be_changed(foreseen: Run, file: Path) -> None:
    params = {"source": "file", "path": str(file)}
    copy = placed(foreseen(**params))
    assert placed(foreseen(**params, placement="reference")) == file
    assert not copy.exists()
    again = placed(foreseen(**params))
    assert (again.read_bytes(), file.read_bytes()) == (DATA, DATA)


def test_a_file_that_is_gone_is_said(model: Run, file: Path) -> None:
    file.unlink()
    result = model(source="file", path=str(file))
    assert result["reason"] == "path_missing"
    assert str(file) in result["msg"]
    assert model(source="file", path="model.gguf")["failed"]
