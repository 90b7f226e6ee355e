# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import GIT_BLOB, SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.manifest import Manifest
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import (
    CAPABILITIES,
    FileEntry,
    InstalledModel,
)

PROMISED = [
    "name",
    "provider",
    "display_name",
    "size_bytes",
    "size_gb",
    "status",
    "capabilities",
    "local_path",
    "sha256",
    "installed_at",
    "runtime",
    "revision",
    "files",
]


def model(name: str) -> InstalledModel:
    return InstalledModel(
        name=name,
        provider="huggingface",
        model="org/x",
        requested_revision="main",
        revision="c" * 40,
        selection={"include": ["*.gguf"], "exclude": []},
        folder="/store/huggingface/org--x@c",
        files=(FileEntry("x.gguf", 7, Digest(SHA256, "1" * 64)), FileEntry("a/b", 3, Digest(GIT_BLOB, "2" * 40))),
        sha256="3" * 64,
        installed_at="2026-01-01T00:00:00Z",
        origin={"k": [1, 2]},
        extra={"colour": "blue"},
    )


def test_it_survives_a_round_trip() -> None:
    manifest = Manifest({"b": model("b"), "a": model("a")}, "2026-01-02T00:00:00Z", {"schema": 9})
    again = Manifest.parse(manifest.render(), "place")
    assert again.render() == manifest.render()
    assert again.models["a"].as_dict() == model("a").as_dict()
    assert next(iter(json.loads(manifest.render())["models"][0])) == "colour"
    assert [record["name"] for record in json.loads(manifest.render())["models"]] == ["a", "b"]


def test_records_have_the_promised_fields() -> None:
    record = model("a").as_dict()
    assert not [name for name in PROMISED if name not in record]
    assert record["capabilities"] == dict.fromkeys(CAPABILITIES)
    assert record["size_bytes"] == 10


def test_one_file_is_the_local_path_and_several_are_their_folder() -> None:
    assert model("a").local_path == "/store/huggingface/org--x@c"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": 1}', '{"models": [{}]}', '{"models": ["x"]}', "null"])
def test_what_is_no_manifest_is_named_not_overwritten(text: str) -> None:
    with pytest.raises(LlmError) as caught:
        Manifest.parse(text, "/store/manifest.json")
    assert "/store/manifest.json" in str(caught.value)


def test_every_cut_is_seen() -> None:
    text = Manifest({"a": model("a")}).render()
    for length in range(len(text.rstrip())):
        with pytest.raises(LlmError):
            Manifest.parse(text[:length], "place")
