# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that an Ollama server keeps and that are not what they must be: found, mended, and said."""

from __future__ import annotations

import typing as t

import pytest
from ollama_store import CONFIG_LAYER, digest_of

if t.TYPE_CHECKING:
    from .conftest import Ollama, Run


def spoil(ollama: Ollama, word: str = "first") -> None:
    """The story of corruption.json: a bit flips in the large layer, then the link is lost before the last file."""
    raw = ollama.publish(word).decode()
    config = raw.partition(CONFIG_LAYER)[2].partition('"digest": "')[2][:71]
    ollama.registry.fault(f"/cdn/{ollama.blob(word).name.replace('-', ':', 1)}", flip=5000)
    ollama.registry.fault(f"/cdn/{config}", drop=True)


def digest(ollama: Ollama, word: str = "first") -> str:
    return digest_of(ollama.blob(word).read_bytes()).replace(":", "-")


def test_a_layer_that_a_broken_pull_left_is_found_and_mended(model: Run, ollama: Ollama) -> None:
    spoil(ollama)
    broken = model(**ollama.params)
    assert broken["reason"] == "unreachable"
    assert digest(ollama) != ollama.blob().name
    ollama.registry.reset()
    mended = model(**ollama.params)
    assert mended["changed"]
    assert mended["notes"] == [
        f"Model m: {ollama.blob().name} did not hash to its name; the model was deleted and pulled again."
    ]
    assert digest(ollama) == ollama.blob().name
    assert len(ollama.tags()) == 1
    assert model(**ollama.params)["changed"] is False


def test_an_update_that_left_a_layer_is_mended_too(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    spoil(ollama, "second")
    assert model(**ollama.params, refresh=True)["reason"] == "unreachable"
    ollama.registry.reset()
    assert "did not hash" in model(**ollama.params, refresh=True)["notes"][0]
    assert digest(ollama, "second") == ollama.blob("second").name


def test_a_proof_does_not_outlive_the_model(model: Run, ollama: Ollama) -> None:
    """Somebody deleted it since: the same name of a layer says nothing of the bytes that come now."""
    model(**ollama.params)
    ollama.ask("DELETE", "/api/delete", model=ollama.name)
    spoil(ollama)
    assert model(**ollama.params)["reason"] == "unreachable"
    ollama.registry.reset()
    assert "did not hash" in model(**ollama.params)["notes"][0]
    assert digest(ollama) == ollama.blob().name


def test_never_does_not_look(model: Run, ollama: Ollama) -> None:
    spoil(ollama)
    model(**ollama.params)
    ollama.registry.reset()
    result = model(**ollama.params, verify="never")
    assert result["changed"]
    assert "notes" not in result
    assert digest(ollama) != ollama.blob().name
    assert model(**ollama.params, verify="never")["changed"] is False


@pytest.mark.parametrize("more", [{"verify": "always"}, {"state": "verified"}], ids=["always", "verified"])
def test_a_bit_that_flips_later_is_found(foreseen: Run, ollama: Ollama, more: dict[str, str]) -> None:
    foreseen(**ollama.params)
    assert foreseen(**ollama.params, **more)["changed"] is False
    whole = ollama.flip(ollama.blob())
    assert foreseen(**ollama.params)["changed"] is False
    mended = foreseen(**ollama.params, **more)
    assert mended["changed"]
    step = mended["plan"]["steps"][0]
    assert (step["action"], step["damaged"]) == ("repair", [ollama.blob().name])
    assert step["bytes_to_fetch"] == len(whole)
    assert "deleted and pulled again" in mended["notes"][0]
    assert ollama.blob().read_bytes() == whole
    assert foreseen(**ollama.params, **more)["changed"] is False


def test_a_lost_layer_is_found(foreseen: Run, ollama: Ollama) -> None:
    foreseen(**ollama.params)
    whole = ollama.blob().read_bytes()
    ollama.blob().unlink()
    assert foreseen(**ollama.params, verify="always")["changed"]
    assert ollama.blob().read_bytes() == whole


def test_a_layer_that_another_model_keeps_is_said_not_to_be_mended(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.ask("POST", "/api/copy", source=ollama.name, destination="other")
    whole = ollama.flip(ollama.blob())
    result = model(**ollama.params, verify="always")
    assert result["reason"] == "checksum_mismatch"
    assert "Another of its models has the same file" in result["msg"]
    ollama.ask("DELETE", "/api/delete", model="other")
    assert model(**ollama.params, verify="always")["changed"]
    assert ollama.blob().read_bytes() == whole


def test_a_loaded_model_that_is_mended_leaves_memory(model: Run, ollama: Ollama) -> None:
    model(**ollama.params)
    ollama.load(ollama.name)
    ollama.flip(ollama.blob())
    notes = model(**ollama.params, verify="always")["notes"]
    assert ["unloaded" in note for note in notes] == [True, False]
    assert ollama.loaded() == []
    ollama.load(ollama.name)
    assert len(ollama.loaded()) == 1
