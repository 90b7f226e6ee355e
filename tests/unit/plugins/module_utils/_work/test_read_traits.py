# SPDX-License-Identifier: GPL-3.0-or-later
"""Traits of installed models, from real files."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import FileEntry, InstalledModel
from ansible_collections.llmops.fleet.plugins.module_utils._core.traits import GGUF, SAFETENSORS, Traits
from ansible_collections.llmops.fleet.plugins.module_utils._work.read_traits import read_traits
from reciter import CONTEXT, gguf, safetensors, sentence_of

ALPHA = gguf(sentence_of("alpha"), "alpha")


def record(place: Path | str, files: t.Mapping[str, bytes], **more: t.Any) -> InstalledModel:
    """A model whose files lie in `place`."""
    for path, data in files.items():
        target = Path(place) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    entries = tuple(FileEntry(path, len(data), Digest("sha256", "0" * 64)) for path, data in files.items())
    given = {"provider": "file", "files": entries, "folder": str(place), **more}
    return InstalledModel(
        name="alpha",
        model="alpha",
        requested_revision="",
        revision="1",
        selection={},
        sha256="",
        installed_at="",
        **given,
    )


def test_one_file(tmp_path: Path) -> None:
    expected = Traits(GGUF, "llama", "F32", CONTEXT, len(ALPHA), 1, 5, 64, 64)
    assert read_traits(record(tmp_path, {"alpha.gguf": ALPHA})) == expected


def test_the_user_s_own_folder(tmp_path: Path) -> None:
    found = read_traits(record(tmp_path, {"alpha.gguf": ALPHA}, folder="", origin={"path": str(tmp_path)}))
    assert found.layers == 1


def test_parts_count_together_and_a_projector_does_not(tmp_path: Path) -> None:
    files = {
        "big-00001-of-00003.gguf": ALPHA,
        "big-00002-of-00003.gguf": b"x" * 100,
        "big-00003-of-00003.gguf": b"x" * 10,
        "mmproj-big.gguf": b"x" * 1000,
        "README.md": b"x" * 5000,
    }
    found = read_traits(record(tmp_path, files))
    assert found.weights_bytes == len(ALPHA) + 110
    assert found.layers == 1


@pytest.mark.parametrize("data", [ALPHA[:50], b"notes, no model", b""])
def test_a_header_that_cannot_be_read(data: bytes, tmp_path: Path) -> None:
    assert read_traits(record(tmp_path, {"a.gguf": data})) == Traits(format=GGUF, weights_bytes=len(data))


def test_files_that_are_gone(tmp_path: Path) -> None:
    gone = record(tmp_path, {"alpha.gguf": ALPHA})
    (tmp_path / "alpha.gguf").unlink()
    assert read_traits(gone) == Traits(format=GGUF, weights_bytes=len(ALPHA))


def test_a_repository(tmp_path: Path) -> None:
    files = safetensors(sentence_of("alpha"), "alpha")
    found = read_traits(record(tmp_path, files))
    size = len(files["model.safetensors"])
    assert found == Traits(SAFETENSORS, "LlamaForCausalLM", None, CONTEXT, size, 1, 5, 64, 64)


@pytest.mark.parametrize(
    ("names", "counted", "form"),
    [
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], 2, SAFETENSORS),
        (["model.safetensors", "consolidated.safetensors", "original/model.safetensors"], 1, SAFETENSORS),
        (["consolidated.safetensors"], 1, SAFETENSORS),
        (["model.safetensors", "pytorch_model.bin"], 1, SAFETENSORS),
        (["pytorch_model-1.bin", "pytorch_model-2.bin", "optimizer.bin"], 2, None),
        (["flax_model.msgpack"], 0, None),
    ],
)
def test_which_files_are_weights(names: list[str], counted: int, form: str | None, tmp_path: Path) -> None:
    config = safetensors(sentence_of("alpha"), "alpha")["config.json"]
    found = read_traits(record(tmp_path, {"config.json": config, **dict.fromkeys(names, b"x" * 100)}))
    assert found.weights_bytes == (100 * counted or None)
    assert found.format == form


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", None])
def test_a_configuration_that_cannot_be_read(data: bytes | None, tmp_path: Path) -> None:
    files = {"model.safetensors": b"x" * 100, **({} if data is None else {"config.json": data})}
    assert read_traits(record(tmp_path, files)) == Traits(format=SAFETENSORS, weights_bytes=100)


def test_a_model_that_a_program_keeps() -> None:
    told = {"quantization": "Q4_K_M", "max_context_length": 131072}
    kept = record("", {}, folder="", provider="ollama", declared_size=4_900_000_000, capabilities_read=told)
    assert read_traits(kept) == Traits(GGUF, None, "Q4_K_M", 131072, 4_900_000_000)
    unknown = record("", {}, folder="", provider="lm_studio", capabilities_read={"quantization": "4bit"})
    assert read_traits(unknown) == Traits(quantization="4bit")


def test_the_user_s_word_on_the_context_is_above_the_file_s(tmp_path: Path) -> None:
    own = {"max_context_length": 2048}
    assert read_traits(record(tmp_path, {"a.gguf": ALPHA}, capabilities_override=own)).max_context == 2048
