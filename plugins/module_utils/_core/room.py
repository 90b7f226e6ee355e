# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model may have: the host's, and that of each GPU which its runtime sees."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .gpu import Gpu, Holding
from .visible_gpus import Sight

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class CardRoom:
    """One GPU, in bytes. `freed` is what the processes that go hold on it; None where no tool tells."""

    name: str
    index: int
    total: int
    available: int
    freed: int | None = 0

    @property
    def there(self) -> int:
        return min(self.total, self.available + (self.freed or 0))


@dataclass(frozen=True)
class Given:
    """What processes that go on give back of their memory, in bytes; None where that is not told."""

    members: frozenset[int]
    ram: int | None
    vram: int | None


@dataclass(frozen=True)
class Room:
    """Memory of a host and of the GPUs that a runtime sees, in bytes, and what the processes that go give back of it.

    `ram_freed` must not hold pages of files: the kernel counts these as available already; None is not known.
    `memory_max` is the limit of the runtime's own unit. `gpu_unknown`: it sees a GPU of which nobody tells how much
    memory it has. `notes` are what there is to know about these figures.
    """

    ram_total: int
    ram_available: int
    ram_freed: int | None = 0
    memory_max: int | None = None
    cards: tuple[CardRoom, ...] = ()
    gpu_unknown: bool = False
    notes: tuple[str, ...] = ()

    @property
    def most_ram(self) -> int:
        return self.ram_total if self.memory_max is None else min(self.ram_total, self.memory_max)

    @property
    def ram(self) -> int:
        return min(self.most_ram, self.ram_available + (self.ram_freed or 0))

    @property
    def gpu(self) -> bool:
        return bool(self.cards) or self.gpu_unknown


def room_of(
    ram: tuple[int, int],
    ram_freed: int | None,
    sight: Sight,
    holdings: t.Sequence[Holding],
    going: t.Collection[int],
    memory_max: int | None = None,
    given: t.Iterable[Given] = (),
) -> Room:
    """`ram` is all and what is available, in bytes; `going` are the processes that end, `given` is of those that stay."""
    for each in given:
        if each.vram != 0:
            holdings = [_given(holding, each, holdings) for holding in holdings]
            going = {*going, *each.members}
    notes = [sight.note] if sight.note else []
    mute = [card for card in sight.cards if card.total_mb is None or card.used_mb is None]
    if mute:
        # GPUs without memory of their own work in the host's, and no tool tells of any.
        shared = ", so the host's is counted" if len(mute) == len(sight.cards) else ""
        notes.append(f"how much memory {cards_named(mute)} has is not known{shared}")
        return Room(*ram, ram_freed, memory_max, gpu_unknown=not shared, notes=tuple(notes))
    if any(_spread(card, holdings, going) and len(_peers(card, sight)) > 1 for card in sight.cards):
        notes.append("on which GPU the model that goes holds how much is not told, so it is shared out by what is used")
    cards = []
    for card in sight.cards:
        total, used = (card.total_mb or 0) * _MEBIBYTE, (card.used_mb or 0) * _MEBIBYTE
        freed = _freed(card, sight, holdings, going)
        cards.append(CardRoom(card.name, card.index, total, max(0, total - used), freed))
    return Room(*ram, ram_freed, memory_max, tuple(cards), sight.unknown, tuple(notes))


def _given(holding: Holding, given: Given, holdings: t.Sequence[Holding]) -> Holding:
    """What is given back of a holding, from each card alike."""
    if holding.pid not in given.members or not holding.used_bytes:
        return holding
    if given.vram is None:
        return replace(holding, used_bytes=None)
    held = sum(each.used_bytes or 0 for each in holdings if each.pid in given.members)
    return replace(holding, used_bytes=round(holding.used_bytes * min(1, given.vram / held)))


def cards_named(cards: t.Sequence[CardRoom | Gpu]) -> str:
    """`GPU 0 (NVIDIA L4)`; `GPUs 0 and 1 (NVIDIA L4)` where they are of one kind."""
    kinds: dict[str, list[str]] = {}
    for card in cards:
        kinds.setdefault(card.name, []).append(str(card.index))
    return _listed(
        [f"{'GPUs' if len(found) > 1 else 'GPU'} {_listed(found)} ({name})" for name, found in kinds.items()]
    )


def _listed(words: t.Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def _peers(card: Gpu, sight: Sight) -> list[Gpu]:
    return [other for other in sight.there if other.maker == card.maker]


def _spread(card: Gpu, holdings: t.Sequence[Holding], going: t.Collection[int]) -> int:
    """Bytes that the processes that go hold on cards of that maker, nobody tells on which."""
    ours = [holding for holding in holdings if holding.pid in going and holding.maker == card.maker]
    return sum(holding.used_bytes or 0 for holding in ours if not holding.card)


def _freed(card: Gpu, sight: Sight, holdings: t.Sequence[Holding], going: t.Collection[int]) -> int | None:
    used = (card.used_mb or 0) * _MEBIBYTE
    if not going or not used:
        return 0
    told = [holding for holding in holdings if holding.maker == card.maker]
    here = [holding for holding in told if holding.pid in going and holding.card in ("", card.uuid)]
    # In a container the tool sees no process at all, and some drivers tell of processes without figures.
    if not told or any(holding.used_bytes is None for holding in here):
        return None
    freed = sum(holding.used_bytes or 0 for holding in here if holding.card)
    spread, all_used = _spread(card, holdings, going), sum(peer.used_mb or 0 for peer in _peers(card, sight))
    return min(used, freed + round(spread * (card.used_mb or 0) / all_used))
