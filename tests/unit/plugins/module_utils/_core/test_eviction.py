# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models go, and that what is left keeps to the limit, whatever the store."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.llmops.fleet.plugins.module_utils._core.digest import SHA256, Digest
from ansible_collections.llmops.fleet.plugins.module_utils._core.eviction import evictable
from ansible_collections.llmops.fleet.plugins.module_utils._core.manifest import Manifest
from ansible_collections.llmops.fleet.plugins.module_utils._core.model import (
    FileEntry,
    InstalledModel,
    Resolved,
    total_size,
)
from ansible_collections.llmops.fleet.plugins.module_utils._core.plan import Here, Limits, judge, plan_present
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import request_from
from hypothesis import given
from hypothesis import strategies as st


def model(name: str, size: int, *, day: int = 1, **words: object) -> InstalledModel:
    entry = FileEntry("w", size, Digest(SHA256, f"{name}-{size}"))
    made = InstalledModel(
        name=name,
        provider="huggingface",
        model=f"org/{name}",
        requested_revision="main",
        revision="r",
        selection={},
        folder=f"/store/huggingface/{name}@r",
        files=(entry,),
        sha256="",
        installed_at=f"2026-01-{day:02}T00:00:00Z",
    )
    return replace(made, **words)  # type: ignore[arg-type]


def test_the_least_recently_used_goes_first() -> None:
    old, new, served = model("old", 1, day=1), model("new", 1, day=3), model("served", 1, day=1)
    used = {served.folder: "2026-01-02T00:00:00Z"}
    found = evictable([new, served, old], asked_for=(), generations=set(), last_used=used)
    assert [record.name for record in found] == ["old", "served", "new"]


def test_what_somebody_would_miss_stays() -> None:
    pinned, asked, active = model("pinned", 1, pinned=True), model("asked", 1), model("active", 1)
    elsewhere = model("elsewhere", 1, folder="")
    found = evictable(
        [pinned, asked, active, elsewhere], asked_for=["asked"], generations={active.folder}, last_used={}
    )
    assert found == []


sizes = st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=6)


@given(sizes, st.integers(1, 100), st.integers(0, 300))
def test_the_limit_holds_and_no_more_goes_than_must(stored: list[tuple[int, bool]], size: int, limit: int) -> None:
    records = [
        model(f"m{number}", bytes_, day=number + 1, pinned=pinned) for number, (bytes_, pinned) in enumerate(stored)
    ]
    manifest = Manifest({record.name: record for record in records})
    after = model("wanted", size)
    request = request_from({"name": "wanted", "model": "org/wanted"})
    step = replace(plan_present(request, Resolved("r", after.files), None, Here()), after=after)
    free = evictable(records, asked_for=["wanted"], generations=set(), last_used={})
    plan = judge([step], manifest, Limits(limit, 0, 10**15), "/store", free)
    gone = [step.name for step in plan.steps if step.action == "evict"]
    kept = [record for record in records if record.name not in gone]
    assert not [record for record in records if record.pinned and record.name in gone]
    if plan.refusal:
        pinned_size = total_size([record for record in records if record.pinned])
        assert gone == []
        assert limit
        assert pinned_size + size > limit
        assert plan.size_after == plan.size_before == total_size(records)
    else:
        assert plan.size_after == total_size([*kept, after])
        assert not limit or plan.size_after <= limit
        if gone:
            # Without the last one that went it would not have fitted.
            last = next(record for record in records if record.name == gone[-1])
            assert plan.size_after + last.size > limit
