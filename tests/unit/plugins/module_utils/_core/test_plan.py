# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.manifest import Manifest
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import (
    GB,
    FileEntry,
    InstalledModel,
    Resolved,
    check_files,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.plan import (
    HEADROOM,
    Here,
    Limits,
    Plan,
    judge,
    plan_absent,
    plan_present,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.request import ModelRequest
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import request_from

NO_LIMITS = Limits(0, 0, 10**15)


def entry(path: str, size: int) -> FileEntry:
    return FileEntry(path, size, Digest(SHA256, f"{path}-{size}"))


def request(name: str = "qwen", **options: object) -> ModelRequest:
    return request_from({"name": name, "model": "org/qwen", **options})


def installed(resolved: Resolved, name: str = "qwen") -> InstalledModel:
    return InstalledModel(
        name=name,
        provider="huggingface",
        model="org/qwen",
        requested_revision="main",
        revision=resolved.revision,
        selection={"include": [], "exclude": []},
        folder=f"/store/huggingface/org--qwen@{resolved.revision}",
        files=resolved.files,
        sha256=resolved.sha256,
        installed_at="2026-01-01T00:00:00Z",
    )


ONE = Resolved("a" * 40, (entry("config.json", 10), entry("weights", 1000)))
TWO = Resolved("b" * 40, (entry("config.json", 10), entry("weights", 2000)))


def test_a_new_model_fetches_everything() -> None:
    step = plan_present(request(), ONE, None, Here())
    assert (step.action, step.bytes_to_fetch, step.bytes_here) == ("fetch", 1010, 0)


def test_the_same_revision_is_kept() -> None:
    step = plan_present(request(), ONE, installed(ONE), Here(intact=True))
    assert (step.action, step.changes) == ("keep", False)


def test_a_damaged_copy_is_not_kept() -> None:
    here = {ONE.files[0].digest}
    step = plan_present(request(), ONE, installed(ONE), Here(here))
    assert [file.path for file in step.fetch] == ["weights"]


def test_a_moved_revision_reuses_what_is_here() -> None:
    step = plan_present(request(), TWO, installed(ONE), Here({file.digest for file in ONE.files}, intact=True))
    assert [file.path for file in step.fetch] == ["weights"]
    assert step.bytes_here == 10


def test_two_files_of_the_same_bytes_come_once() -> None:
    same = Digest(SHA256, "same")
    resolved = Resolved("c" * 40, (FileEntry("a", 5, same), FileEntry("b", 5, same)))
    assert plan_present(request(), resolved, None, Here()).bytes_to_fetch == 5


def judged(limits: Limits, manifest: Manifest | None = None, **options: object) -> Plan:
    asked = request(**options)
    step = plan_present(asked, ONE, None, Here())
    step = replace(step, after=installed(ONE))
    return judge([step], manifest or Manifest(), limits, "/store")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(1000, 0, 10**15), "quota_exceeded"),
        (Limits(0, 1000, 10**15), "too_large"),
        (Limits(0, 0, HEADROOM + 1009), "no_space"),
        (Limits(1010, 1010, HEADROOM + 1010), None),
        (NO_LIMITS, None),
    ],
)
def test_limits_refuse_at_the_exact_byte(limits: Limits, reason: str | None) -> None:
    plan = judged(limits)
    assert (plan.refusal.reason if plan.refusal else None) == reason
    assert plan.changes is (reason is None)
    assert plan.size_after == (0 if reason else 1010)


def test_an_explicit_yes_takes_a_large_model() -> None:
    assert judged(Limits(0, 1000, 10**15), allow_large=True).refusal is None


def test_the_quota_counts_what_is_there_already() -> None:
    other = replace(installed(TWO, "other"), folder="/store/other")
    assert judged(Limits(3000, 0, 10**15), Manifest({"other": other})).refusal is not None


def test_files_that_two_names_share_count_once() -> None:
    manifest = Manifest({"a": installed(ONE, "a"), "b": installed(ONE, "b")})
    assert manifest.size == 1010


def test_a_model_in_use_is_not_removed() -> None:
    step = plan_absent("qwen", installed(ONE), "chat", False)
    assert step.refusal is not None
    assert step.refusal.reason == "in_use"
    assert plan_absent("qwen", installed(ONE), "chat", True).action == "remove"
    assert plan_absent("qwen", None, None, False).action == "none"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a\0b"])
def test_a_source_cannot_name_paths_outside(path: str) -> None:
    with pytest.raises(LlmError):
        check_files([entry(path, 1)], "Model qwen")


def test_a_source_cannot_name_a_path_twice() -> None:
    with pytest.raises(LlmError):
        check_files([entry("a", 1), entry("a", 2)], "Model qwen")


def test_sizes_are_told_in_gb() -> None:
    plan = judged(Limits(50 * GB, 0, 10**15)).as_dict()
    assert plan["disk_limit_gb"] == 50.0
    assert plan["steps"][0]["files_to_fetch"] == ["config.json", "weights"]


@pytest.mark.parametrize(
    ("options", "files", "least"),
    [
        # A repository has every quantization of a model: an engine loads one.
        ({}, {"a-q4_k_m.gguf": 4.68, "a-q8_0.gguf": 8.1, "a-f16.gguf": 15.2, "a-q2_k.gguf": 32.0}, 16.0),
        ({"quantization": "q4_k_m"}, {"a-q4_k_m.gguf": 4.68}, 16.0),
        ({}, {"model.safetensors": 4.5, "consolidated.safetensors": 4.5, "config.json": 0.1}, 16.0),
        # Nobody says a size: the name does.
        ({"model": "org/Qwen2.5-7B-Instruct-Q4_K_M-GGUF"}, {}, 16.0),
        ({"model": "org/Qwen2.5-14B-GGUF", "quantization": "q4_k_m"}, {}, 32.0),
        ({"model": "org/Qwen2.5-7B-GGUF"}, {"a.gguf": 0.0}, 16.0),
        ({"model": "org/nameless"}, {}, None),
    ],
)
def test_memory_is_for_what_an_engine_loads(
    options: dict[str, object], files: dict[str, float], least: float | None
) -> None:
    wanted = request(**options)
    resolved = Resolved("a" * 40, tuple(entry(path, round(size * GB)) for path, size in files.items()))
    step = plan_present(wanted, resolved, None, Here()).as_dict()
    assert (step["ram_min_gb"], step["ram_recommended_gb"]) == (least, least and least * 1.5)
