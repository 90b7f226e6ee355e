# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at sources, store and disk, and make of it the plan of a run. Nothing is changed here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from .._core.digest import Digest
from .._core.errors import LlmError
from .._core.eviction import evictable
from .._core.layout import Layout
from .._core.manifest import Manifest
from .._core.model import GB, INSTALLED, InstalledModel, Resolved, check_files
from .._core.plan import Here, Limits, Plan, Step, judge, plan_absent, plan_present
from .._core.ports import Source, SourceOptions
from .._core.reference import folder_name
from .._core.request import ModelRequest
from .._host.disk import device_of
from .._host.generations import active_generations, kept_generations
from .._host.hashing import Damage, holds
from .._host.reservation import reserved_by_others
from .._host.store import Store
from .._sources.registry import SOURCES, request_from, source_named
from .model_order import ABSENT, VERIFIED, Order, Wish, options_for

# A revision in a folder's name: a commit whole, as hubs' caches have it; a content hash by its first 12.
_SHORT_HASH = 12


@dataclass
class Planner:
    """What was found out in one run, so that nothing is asked or hashed twice."""

    order: Order
    layout: Layout
    store: Store
    # As read last, with what that put right.
    manifest: Manifest = field(default_factory=Manifest)
    healed: tuple[str, ...] = ()
    strangers: list[InstalledModel] = field(default_factory=list)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # The model that is being looked at: whom a failure concerns.
    subject: str = ""
    adoptable: dict[Digest, Path] = field(default_factory=dict)
    damages: dict[str, list[Damage]] = field(default_factory=dict)
    rotten: set[Digest] = field(default_factory=set)
    _sources: dict[tuple[str, SourceOptions], Source] = field(default_factory=dict)
    _resolved: dict[str, Resolved] = field(default_factory=dict)
    _held: dict[tuple[Path, Digest], bool] = field(default_factory=dict)
    # What the models of the list so far will have brought.
    _coming: set[Digest] = field(default_factory=set)

    def plan(self, swept: tuple[str, ...] = ()) -> Plan:
        """`swept` is what was found of killed runs when the store was taken; it belongs to what was healed."""
        reading = self.store.reading()
        manifest, self.healed = reading.manifest, reading.healed + swept
        self.manifest = manifest
        self.adoptable.clear()
        self._coming.clear()
        if self.order.state == ABSENT:
            users = {generation.model.name: generation.runtime for generation in active_generations(self.layout)}
            self.strangers = self._strangers(manifest)
            records = {**{record.name: record for record in self.strangers}, **manifest.models}
            steps = [
                plan_absent(name, records.get(name), users.get(name), self.order.force) for name in self.order.names
            ]
        else:
            steps = [self._plan_one(wish, manifest) for wish in self.order.wishes]
        limits = Limits(
            int(self.order.max_disk_gb * GB),
            int(self.order.max_model_gb * GB),
            self.store.free(),
            reserved_by_others(Path(self.layout.run), self.store.path),
        )
        return judge(steps, manifest, limits, str(self.store.path), self._evictable(manifest))

    def _strangers(self, manifest: Manifest) -> list[InstalledModel]:
        """Models to remove that the manifest does not know and a program has, where the task names both."""
        found = []
        for name in self.order.names:
            item, self.subject = self.order.items[name], name
            named = item.get("source") and item.get("model")
            if name in manifest.models or not named or not SOURCES[item["source"]].keeps_own_bytes:
                continue
            wish = Wish(request_from({**item, "refresh": False}), options_for(item, self.order.options, listed=True))
            resolved = self._resolve(wish, None)
            if resolved.held:
                found.append(self._record(wish, resolved, None))
        return found

    def source(self, name: str, options: SourceOptions) -> Source:
        key = (name, options)
        if key not in self._sources:
            self._sources[key] = source_named(name, options)
        return self._sources[key]

    def source_of(self, wish: Wish) -> Source:
        return self.source(wish.request.reference.source, wish.options)

    def _evictable(self, manifest: Manifest) -> list[InstalledModel]:
        if not self.order.evict:
            return []
        kept = list(kept_generations(self.layout))
        return evictable(
            manifest.models.values(),
            asked_for=self.order.names,
            generations={generation.model.folder for generation in kept},
            last_used={generation.model.folder: generation.time for generation in kept},
        )

    def _plan_one(self, wish: Wish, manifest: Manifest) -> Step:
        request = wish.request
        self.subject = request.name
        record = manifest.models.get(request.name)
        resolved = self._resolve(wish, record)
        here = self._here(request, resolved, record, manifest)
        step = plan_present(request, resolved, record, here)
        if step.action == "keep":
            return step
        after = self._record(wish, resolved, record)
        if step.action == "update" and record:
            after = replace(
                record,
                requested_revision=request.reference.revision,
                origin=resolved.origin or record.origin,
                pinned=request.pinned,
                capabilities_override=request.capabilities,
            )
        return replace(step, after=after)

    def _here(
        self, request: ModelRequest, resolved: Resolved, record: InstalledModel | None, manifest: Manifest
    ) -> Here:
        """What of the model the host has: proven bytes, other models, its own folder, the hub's cache."""
        intact = record is not None and bool(record.root) and not resolved.held and self.store.intact(record)
        damaged = {damage.entry.digest: damage.bytes for damage in self._damages(record)}
        records = sorted(manifest.models.values(), key=lambda other: other is not record)
        found = self.store.copies([entry for entry in resolved.files if entry.digest not in damaged], records)
        if self.order.state == VERIFIED:
            # Its own files were just looked at; those of other models are not believed unread either.
            own = {entry.digest for entry in record.files} if record and intact else set()
            sizes = {entry.digest: entry.size for entry in resolved.files}
            right = {
                digest: path
                for digest, path in found.items()
                if digest in own or self._holds(path, digest, sizes[digest])
            }
            self.rotten |= set(found) - set(right)
            found = right
        # What an earlier model of the list brings is here by then.
        digests = set(found) | set(resolved.here) | self._coming
        for entry in resolved.files:
            if entry.digest in digests or entry.digest in damaged or resolved.held:
                continue
            places = [Path(self._folder(request, resolved)) / entry.path]
            if entry.digest in resolved.candidates:
                places.append(Path(resolved.candidates[entry.digest]))
            for place in places:
                if self._holds(place, entry.digest, entry.size):
                    self.adoptable[entry.digest] = place
                    digests.add(entry.digest)
                    break
        arrived = {entry.digest: self.store.arrived(entry) for entry in resolved.files if entry.digest not in digests}
        damaged = {digest: count for digest, count in damaged.items() if digest not in self._coming}
        if not resolved.held:
            self._coming.update(entry.digest for entry in resolved.files)
        apart = [entry.size for entry in resolved.files if self._is_apart(self.adoptable.get(entry.digest))]
        return Here(digests=digests, intact=intact, damaged=damaged, copied=sum(apart), arrived=arrived)

    def wrong_bytes(self, name: str) -> set[Digest]:
        """Digests that files of the store should have and do not, as far as this run looked."""
        return self.rotten | {damage.entry.digest for damage in self.damages.get(name, ())}

    def _is_apart(self, path: Path | None) -> bool:
        """Whether a file of the host is on another disk than the store, so that it has to be copied."""
        return path is not None and path.stat().st_dev != device_of(self.store.path)

    def _damages(self, record: InstalledModel | None) -> list[Damage]:
        if self.order.state != VERIFIED or record is None or not record.files or not record.root:
            return []
        if record.name not in self.damages:
            self.damages[record.name] = self.store.damages(record, self.order.verify_share)
        return self.damages[record.name]

    def _holds(self, path: Path, digest: Digest, size: int) -> bool:
        key = (path, digest)
        if key not in self._held:
            self._held[key] = holds(path, digest, size)
        return self._held[key]

    def _resolve(self, wish: Wish, record: InstalledModel | None) -> Resolved:
        request = wish.request
        if request.name in self._resolved:
            return self._resolved[request.name]
        try:
            resolved = self.source_of(wish).resolve(request, record)
        except LlmError as failure:
            raise failure.about(str(request)) from None
        check_files(resolved.files, str(request))
        if request.sha256 and resolved.sha256 and resolved.sha256 != request.sha256:
            raise LlmError(
                "checksum_mismatch",
                f"{request}: the source offers the sha256 {resolved.sha256}, {request.sha256} was asked for.",
                remedy="Correct sha256, or the revision; nothing was fetched.",
            )
        self._resolved[request.name] = resolved
        self.notes[request.name] = resolved.notes
        return resolved

    def _folder(self, request: ModelRequest, resolved: Resolved) -> str:
        reference = request.reference
        if resolved.files and len(resolved.revision) == 64:
            # A content hash names the bytes, and the user's own name says what they are.
            folder = f"{reference.source}/{folder_name(request.name)}@{resolved.revision[:_SHORT_HASH]}"
        else:
            folder = f"{reference.source}/{folder_name(reference.model)}@{resolved.revision}"
        return f"{self.store.path}/{folder}"

    def _record(self, wish: Wish, resolved: Resolved, old: InstalledModel | None) -> InstalledModel:
        request = wish.request
        elsewhere = self.source_of(wish).keeps_own_bytes or bool(resolved.origin.get("path"))
        return InstalledModel(
            name=request.name,
            provider=request.reference.source,
            model=request.reference.model,
            requested_revision=request.reference.revision,
            revision=resolved.revision,
            selection=request.selection,
            folder="" if elsewhere else self._folder(request, resolved),
            files=resolved.files,
            sha256=resolved.sha256,
            installed_at="",
            origin=resolved.origin,
            display_name=old.display_name if old else "",
            status=INSTALLED,
            declared_size=resolved.declared_size,
            pinned=request.pinned,
            capabilities_read=old.capabilities_read if old else {},
            capabilities_override=request.capabilities,
            extra=old.extra if old else {},
        )
