# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the host's GPUs a program sees, by the variables that it is started with."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .gpu import AMD, NVIDIA, Gpu

_CUDA, _ROCR, _HIP = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"
# A part of a card, with memory of its own that is told nowhere.
_PART = "MIG-"
_UUID = "GPU-"


@dataclass(frozen=True)
class Sight:
    """`cards` are those that it sees, in its own order, of those that are `there`.

    `unknown`: it sees one that cannot be told from the others. `note` is a clause on what limits it, or what is open.
    """

    cards: tuple[Gpu, ...]
    there: tuple[Gpu, ...]
    unknown: bool = False
    note: str = ""

    @property
    def gpu(self) -> bool:
        return bool(self.cards) or self.unknown


class _UnknownError(Exception):
    """A name of a card that the host's tools do not tell of."""


def sight_of(there: t.Sequence[Gpu], environment: t.Mapping[str, str]) -> Sight:
    """What a program with these variables sees.

    Each maker has a variable of its own; that of NVIDIA holds for AMD's cards too where theirs is not set, and their
    second one counts among what the first has left (rocm.docs.amd.com, GPU isolation).
    """
    nvidia = [card for card in there if card.maker == NVIDIA]
    amd = [card for card in there if card.maker == AMD]
    second = _HIP if _HIP in environment else _CUDA
    names = [name for name in (_CUDA,) if nvidia] + [name for name in (_ROCR, second) if amd]
    said = ", ".join(f"{name}={environment[name]}" for name in dict.fromkeys(names) if name in environment)
    open_order = len({card.name for card in nvidia}) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    if open_order and _CUDA not in environment:
        # CUDA's own count begins with the fastest, which nobody tells: most likely it is the largest.
        nvidia.sort(key=lambda card: -(card.total_mb or 0))
    try:
        seen = _picked(nvidia, environment.get(_CUDA))
        seen += _picked(_picked(amd, environment.get(_ROCR)), environment.get(second))
    except _UnknownError as name:
        return Sight((), tuple(there), unknown=True, note=f"how much memory {name} has is not known ({said})")
    if there and not seen:
        note = f"it sees no GPU ({said})"
    elif open_order and any(word.strip().isdigit() for word in environment.get(_CUDA, "").split(",")):
        note = f"GPUs are counted as nvidia-smi does ({said}), and CUDA may do otherwise without CUDA_DEVICE_ORDER=PCI_BUS_ID"
    else:
        note = f"it sees no other GPU ({said})" if len(seen) < len(there) else ""
    return Sight(tuple(seen), tuple(there), note=note)


def _picked(cards: list[Gpu], value: str | None) -> list[Gpu]:
    """The cards of a list such as `1,0` or `GPU-8932f937`; what comes after a word that is none of them is not seen."""
    if value is None:
        return cards
    found: list[Gpu] = []
    for word in (word.strip() for word in value.split(",")):
        card = _card(cards, word)
        if card is None or card in found:
            break
        found.append(card)
    return found


def _card(cards: list[Gpu], word: str) -> Gpu | None:
    if word.isdigit() and word.isascii():
        return cards[int(word)] if int(word) < len(cards) else None
    if word.startswith(_PART) and cards:
        raise _UnknownError(word)
    if not word.startswith(_UUID) or len(word) == len(_UUID):
        return None
    if any(not card.uuid for card in cards):
        raise _UnknownError(word)
    # The first digits suffice, and AMD's are written with and without strokes.
    same = [card for card in cards if _digits(card.uuid).startswith(_digits(word))]
    return same[0] if len(same) == 1 else None


def _digits(uuid: str) -> str:
    return uuid[len(_UUID) :].replace("-", "").lower()
