# SPDX-License-Identifier: GPL-3.0-or-later
"""`llm_python_environment` with a real venv, a real pip and two wheels made here."""

from __future__ import annotations

import subprocess
import typing as t
import zipfile
from pathlib import Path

import pytest

Run = t.Callable[..., dict[str, t.Any]]


def wheel(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny.py", f"VERSION = '{version}'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def environment(run_module: Run, tmp_path: Path) -> Run:
    for version in ("1", "2"):
        wheel(tmp_path / "wheels", version)
    base = {"path": str(tmp_path / "a place" / "venv"), "wheel_folder": str(tmp_path / "wheels")}
    return lambda **params: run_module("llm_python_environment", **{**base, **params})


def says(tmp_path: Path, *words: str) -> str:
    folder = tmp_path / "a place" / "venv" / "bin"
    return subprocess.run(
        [str(folder / words[0]), *words[1:]], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_twelve_steps(environment: Run, tmp_path: Path) -> None:
    one = {"requirements": ["tiny==1"], "programs": {"tell": "import tiny\nprint(tiny.VERSION)\n"}}
    two = {**one, "requirements": ["tiny==2"]}
    steps: list[tuple[dict[str, t.Any], bool]] = [
        (one, True), (one, False), (two, True), (two, False),
        ({"state": "absent"}, True), ({"state": "absent"}, False),
    ]  # fmt: skip
    for params, changes in steps:
        before = sorted(tmp_path.rglob("*"))
        foreseen = environment(check=True, **params)
        assert sorted(tmp_path.rglob("*")) == before, "check mode wrote"
        real = environment(**params)
        assert not real.get("failed"), real
        assert real["changed"] is changes, params
        assert (foreseen["changed"], foreseen.get("diff")) == (real["changed"], real.get("diff"))
        if "requirements" in params:
            assert says(tmp_path, "tell") == params["requirements"][0][-1]
    assert not (tmp_path / "a place" / "venv").exists()


def test_a_half_made_environment_is_made_again(environment: Run, tmp_path: Path) -> None:
    environment(requirements=["tiny==1"])
    (tmp_path / "a place" / "venv" / ".environment.json").unlink()
    assert environment(requirements=["tiny==1"])["changed"] is True
    assert environment(requirements=["tiny==1"])["changed"] is False


def test_a_program_changed_by_hand_is_put_right(environment: Run, tmp_path: Path) -> None:
    params = {"programs": {"tell": "print('right')\n"}}
    environment(**params)
    (tmp_path / "a place" / "venv" / "bin" / "tell").write_text("#!/bin/sh\necho wrong\n")
    assert environment(**params)["changed"] is True
    assert says(tmp_path, "tell") == "right"


@pytest.mark.parametrize(
    ("params", "reason", "words"),
    [
        ({"requirements": ["tiny"]}, "invalid_input", "not pinned"),
        ({"requirements": ["tiny>=1"]}, "invalid_input", "not pinned"),
        ({"requirements": ["tiny==9"]}, "environment_failed", "tiny==9"),
        ({"programs": {"../x": ""}}, "invalid_input", "'../x'"),
        ({"python": "/nowhere/python"}, "path_missing", "/nowhere/python"),
    ],
)
def test_bad_input(environment: Run, params: dict[str, t.Any], reason: str, words: str) -> None:
    result = environment(**params)
    assert result["reason"] == reason
    assert words in result["msg"]
    # What failed half-way is not taken for finished.
    assert environment(check=True)["changed"] is True


def test_a_password_in_an_index_is_not_shown(environment: Run) -> None:
    result = environment(
        requirements=["tiny==9"],
        wheel_folder=None,
        index_url="http://user:planted-password@127.0.0.1:9/simple",
        proxy="",
    )
    assert result["failed"]
    assert "planted-password" not in str(result)
