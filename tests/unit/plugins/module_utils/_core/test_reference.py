# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.reference import (
    ModelReference,
    check_name,
    folder_name,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("name", ["qwen", "Qwen/Qwen2.5-7B-Instruct-GGUF", "phi3:mini", "a.b_c-d", "x" * 255])
def test_names_of_the_field_are_taken(name: str) -> None:
    assert check_name(name, "Model name") == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("/etc/passwd", "starts with '/'"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("a b", "characters"),
        ("a\n", "characters"),
        ("modèle", "characters"),
        ("x" * 300, "300 characters"),
    ],
)
def test_bad_names_are_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(LlmError) as caught:
        check_name(name, "Model name")
    assert caught.value.reason == "invalid_name"
    assert why in caught.value.what
    assert "Model name" in caught.value.what
    assert caught.value.remedy


@given(st.text(max_size=300))
def test_whatever_passes_stays_inside_a_folder(name: str) -> None:
    try:
        check_name(name, "Model name")
    except LlmError:
        return
    assert ".." not in name
    assert not name.startswith("/")
    assert "/" not in folder_name(name)


@pytest.mark.parametrize(
    ("revision", "pinned"), [("a" * 40, True), ("A" * 40, False), ("a" * 39, False), ("main", False), ("", False)]
)
def test_only_a_full_commit_cannot_move(revision: str, pinned: bool) -> None:
    assert ModelReference("huggingface", "org/name", revision).pinned is pinned


def test_a_reference_is_printed_one_way() -> None:
    assert str(ModelReference("huggingface", "org/name", "main")) == "huggingface org/name@main"
    assert str(ModelReference("file", "/srv/m.gguf", "")) == "file /srv/m.gguf"
