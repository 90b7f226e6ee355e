# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode foretells is what happens: to the result, to the hub, and to the disk."""

from __future__ import annotations

import json
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.plan import Plan
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.store import Store
from ansible_collections.llmops.fleet.plugins.module_utils._work import ensure_model
from ansible_collections.llmops.fleet.plugins.module_utils._work.plan_models import Planner
from faults.bench import RunModule, quicken
from hub import Hub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Few contents and many models, so that models share them. Weights have a sha256, the rest git's own hash.
CONTENTS = {
    f"{kind}{number}.{suffix}": bytes([65 + number]) * (1000 * 3**number + len(kind))
    for number in range(4)
    for kind, suffix in (("weights", "gguf"), ("words", "json"))
}
REPOSITORIES = ["org/a", "org/b", "org/c", "org/d"]
NAMES = ["one", "two", "three", "four"]

_quiet = settings(deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Wanted:
    """One model of the manifest, or of the request."""

    name: str
    repository: str
    pinned: bool = False

    def as_params(self) -> dict[str, t.Any]:
        return {"name": self.name, "model": self.repository, "pinned": self.pinned}


@dataclass(frozen=True)
class Case:
    """A hub, a store, and what is asked of it."""

    files: dict[str, list[str]]
    installed: list[Wanted]
    asked: list[Wanted]
    state: str
    evict: str
    quota: int
    # Content by name, and what happened to the first model's copy of it.
    harms: dict[str, str] = field(default_factory=dict)
    # Content by name, and how much of it an earlier run left.
    partials: dict[str, float] = field(default_factory=dict)


models = st.builds(Wanted, st.sampled_from(NAMES), st.sampled_from(REPOSITORIES), st.booleans())
cases = st.builds(
    Case,
    files=st.fixed_dictionaries(
        {
            name: st.lists(st.sampled_from(sorted(CONTENTS)), min_size=1, max_size=3, unique=True)
            for name in REPOSITORIES
        }
    ),
    installed=st.lists(models, max_size=4, unique_by=lambda model: model.name),
    asked=st.lists(models, min_size=1, max_size=3, unique_by=lambda model: model.name),
    state=st.sampled_from(["present", "present", "verified", "absent"]),
    evict=st.sampled_from(["never", "unused"]),
    quota=st.sampled_from([0, 0, 5_000, 20_000, 40_000, 100_000]),
    harms=st.dictionaries(
        st.sampled_from(sorted(CONTENTS)), st.sampled_from(["missing", "cut", "flipped"]), max_size=2
    ),
    partials=st.dictionaries(st.sampled_from(sorted(CONTENTS)), st.sampled_from([0.0, 0.3, 1.0]), max_size=2),
)


@dataclass
class Host:
    root: Path
    hub: Hub
    run_module: RunModule = dict
    plans: list[Plan] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.root / "var/lib/llm/models"

    def run(self, **params: t.Any) -> dict[str, t.Any]:
        """One run; the plan that it was carried out by is remembered."""
        made = Planner.plan

        def plan(planner: Planner, *swept: t.Any) -> Plan:
            self.plans.append(made(planner, *swept))
            return self.plans[-1]

        with mock.patch.object(ensure_model.Planner, "plan", plan):
            return self.run_module("llm_model", prefix=str(self.root), endpoint=self.hub.url, timeout=5, **params)

    def tree(self) -> dict[str, tuple[t.Any, ...]]:
        """Everything on the host, with what changes when it is touched."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            data = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_mode, data)
        return found

    def model_files(self) -> dict[int, Path]:
        """The files of models on the disk, each of its bytes once."""
        return {path.stat().st_ino: path for path in self.store.glob("huggingface/**/*") if path.is_file()}

    def prepare(self, case: Case) -> None:
        for repository, names in case.files.items():
            self.hub.publish(repository, {name: CONTENTS[name] for name in names})
        for model in case.installed:
            self.run(**model.as_params())
        for name, harm in case.harms.items():
            for path in sorted(self.store.glob(f"huggingface/*/{name}"))[:1]:
                path.chmod(0o640)
                if harm == "missing":
                    path.unlink()
                elif harm == "cut":
                    path.write_bytes(CONTENTS[name][:-1])
                else:
                    path.write_bytes(b"!" + CONTENTS[name][1:])
        for name, share in case.partials.items():
            blob = next(
                (files[name] for commits in self.hub.commits.values() for files in commits.values() if name in files),
                None,
            )
            if blob:
                folder = self.store / "partial"
                folder.mkdir(parents=True, exist_ok=True)
                kind = f"sha256-{blob.sha256}" if blob.sha256 else f"git-sha1-{blob.oid}"
                (folder / f"{kind}.partial").write_bytes(CONTENTS[name][: int(share * blob.size)])


@pytest.fixture(scope="module")
def shared_hub() -> t.Iterator[Hub]:
    with Hub() as hub:
        yield hub


def play(run_module: RunModule, hub: Hub, case: Case) -> None:
    """Foretell, do, compare."""
    hub.reset()
    hub.commits.clear()
    hub.branches.clear()
    with tempfile.TemporaryDirectory() as root:
        host = Host(Path(root), hub, run_module)
        host.prepare(case)
        params: dict[str, t.Any] = {"models": [model.as_params() for model in case.asked], "state": case.state}
        params |= {"evict": case.evict, "max_disk_gb": case.quota / 1e9}
        before = host.tree()
        hub.reset()
        foreseen = host.run(check=True, **params)
        assert host.tree() == before, "check mode wrote"
        assert not hub.settled()
        real = host.run(**params)
        sent = sum(hub.settled().values())
        told = ("failed", "reason", "msg", "changed", "diff", "plan", "healed")
        assert {key: foreseen.get(key) for key in told} == {key: real.get(key) for key in told}
        if real.get("failed"):
            assert real["reason"] == "quota_exceeded"
            assert in_store(host, host.tree()) == in_store(host, before), "a refused run wrote"
            assert not sent
            return
        if not real["changed"]:
            assert host.tree() == before
        assert sent == real["plan"]["bytes_to_fetch"]
        check_disk(host, case)
        assert host.run(**params)["changed"] is False


def in_store(host: Host, tree: dict[str, tuple[t.Any, ...]]) -> dict[str, tuple[t.Any, ...]]:
    """The store's part of a host: the history beside it tells of refusals too."""
    return {path: seen for path, seen in tree.items() if path.startswith(str(host.store))}


def check_disk(host: Host, case: Case) -> None:
    """What is on the disk is what the plan said, and what was asked for is right."""
    manifest = Store(str(host.store), Owner()).manifest()
    asked = {model.name for model in case.asked} if case.state != "absent" else set()
    missing = {}
    present = {}
    for record in manifest.models.values():
        for entry in record.files:
            path = Path(record.folder) / entry.path
            if path.exists() and path.stat().st_size == entry.size:
                present[entry.digest] = entry.size
            else:
                missing[entry.digest] = entry.size
            if record.name in asked and (case.state == "verified" or entry.path not in case.harms):
                assert path.read_bytes() == CONTENTS[entry.path]
            assert record.name not in asked or (path.exists() and path.stat().st_size == entry.size)
    # Files that were lost before, of models that nobody asked for, are in the accounts still and not on the disk.
    lost = sum(size for digest, size in missing.items() if digest not in present)
    cut = sum(
        path.stat().st_size for path in host.model_files().values() if path.stat().st_size != len(CONTENTS[path.name])
    )
    used = sum(path.stat().st_size for path in host.model_files().values())
    assert used - cut == host.plans[-1].size_after - lost


@_quiet
@given(case=cases)
def test_what_is_foretold_happens(run_module: RunModule, shared_hub: Hub, case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        play(run_module, shared_hub, case)


# --- what the random cases met, one by one ---

_FOUR = {"org/a": ["weights1.gguf"], "org/b": ["weights1.gguf", "words0.json"], "org/c": ["weights2.gguf"], "org/d": []}
FOUND = {
    "two of a list share a file": Case(
        _FOUR, [], [Wanted("one", "org/a"), Wanted("two", "org/b")], "present", "never", 0
    ),
    "two of a list share a file that has a partial": Case(
        _FOUR,
        [],
        [Wanted("one", "org/a"), Wanted("two", "org/b")],
        "present",
        "never",
        0,
        partials={"weights1.gguf": 0.3},
    ),
    "one of a list has the file of a model that another one of it replaces": Case(
        _FOUR,
        [Wanted("one", "org/a")],
        [Wanted("one", "org/c"), Wanted("two", "org/b")],
        "present",
        "never",
        0,
    ),
    "a file is wanted of a model that is evicted": Case(
        {**_FOUR, "org/a": ["weights1.gguf", "weights2.gguf"]},
        [Wanted("one", "org/a")],
        [Wanted("two", "org/b")],
        "present",
        "unused",
        10_000,
    ),
    "a damaged file has a partial": Case(
        _FOUR,
        [Wanted("one", "org/a")],
        [Wanted("one", "org/a")],
        "verified",
        "never",
        0,
        harms={"weights1.gguf": "flipped"},
        partials={"weights1.gguf": 0.3},
    ),
    "another model of the folder lost the file": Case(
        _FOUR,
        [Wanted("one", "org/a")],
        [Wanted("two", "org/a")],
        "present",
        "never",
        0,
        harms={"weights1.gguf": "missing"},
    ),
    "a cut file has two names": Case(
        _FOUR,
        [Wanted("one", "org/a"), Wanted("two", "org/b")],
        [Wanted("two", "org/b")],
        "verified",
        "never",
        0,
        harms={"weights1.gguf": "cut"},
    ),
    "a damaged file has two names": Case(
        _FOUR,
        [Wanted("one", "org/a"), Wanted("two", "org/b")],
        [Wanted("one", "org/a")],
        "verified",
        "never",
        0,
        harms={"weights1.gguf": "flipped"},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_not_foretold(run_module: RunModule, shared_hub: Hub, name: str) -> None:
    play(run_module, shared_hub, FOUND[name])


# --- a manifest that was cut ---


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Host]:
    """A host with a hub of its own, and one model that is small enough to be pulled often."""
    with Hub() as hub:
        hub.publish("org/small", {name: CONTENTS[name] for name in ("weights0.gguf", "words0.json")})
        yield Host(tmp_path_factory.mktemp("small"), hub)


def test_a_manifest_cut_at_every_byte_is_read_whole(run_module: RunModule, small: Host) -> None:
    """Each length once, as a reader sees it: nothing is written, so this is quick."""
    small.run_module = run_module
    small.run(name="small", model="org/small")
    path = small.store / "manifest.json"
    whole = path.read_bytes()
    wanted = Store(str(small.store), Owner()).manifest().models
    try:
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            reading = Store(str(small.store), Owner()).reading()
            assert reading.manifest.models == wanted, length
            # Without its last byte, the end of the line, it is whole.
            assert bool(reading.healed) is (length < len(whole) - 1), length
    finally:
        path.write_bytes(whole)


@_quiet
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_manifest_is_healed_without_fetching(run_module: RunModule, small: Host, share: float) -> None:
    small.run_module = run_module
    small.run(name="small", model="org/small")
    path = small.store / "manifest.json"
    before = json.loads(path.read_text())
    whole = path.read_bytes()
    cut = whole[: int(share * len(whole))]
    path.write_bytes(cut)
    small.hub.reset()
    real = small.run(name="small", model="org/small")
    assert real["changed"] is (len(cut) < len(whole) - 1)
    assert json.loads(path.read_text())["models"] == before["models"]
    assert not small.hub.settled()
    assert small.run(name="small", model="org/small")["changed"] is False
    # What could not be read is still there.
    assert not real["changed"] or cut in [aside.read_bytes() for aside in small.store.glob("manifest.json.broken*")]
