# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits into the memory that there is, before anything is stopped for it.

Only what was read is held against a model: its weights, the cache of its own layers, what its program takes. A figure
that is usual but not read is told in a note and refuses nothing. Sizes are bytes, GiB in sentences are 2^30 of them.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from .hardware import bits_of, usual_token_bytes
from .room import CardRoom, Room, cards_named
from .traits import Traits

_GIB = 2**30

# How far above what is there a need may be: buffers depend on versions, and the kernel's own figure of available
# memory is an estimate. What is refused is so large that it is not a matter of these.
TOLERANCE = 0.05
# A compiled server without a model: 38 MB resident for llama.cpp's with a model of 2.7 MB (measured), the double
# with threads and some requests.
PROGRAM_BYTES = 80_000_000
# Buffers for the working of a batch, mostly one number a word of the vocabulary for each of 512 tokens: 301 MiB for a
# model of 3B (SciSharp/LLamaSharp#1099). A small model's vocabulary is small, and so is what it needs.
_BUFFER_BYTES = 320_000_000
# What a GPU's driver takes for one process: 451 MiB (ggml-org/llama.cpp#15860, `unaccounted`).
GPU_PROGRAM_BYTES = 470_000_000
# What people write for "all of them" where nobody knows how many layers there are.
_ALL_LAYERS = 99
_USUAL_QUANTIZATION = "Q4_K_M"


@dataclass(frozen=True)
class Share:
    """What is needed of one kind of memory, in bytes. A cache that is not known counts as none."""

    weights: int
    cache: int | None
    overhead: int

    @property
    def total(self) -> int:
        return self.weights + (self.cache or 0) + self.overhead


@dataclass(frozen=True)
class Need:
    """What a model takes of RAM and of GPU memory; None where even its weights are not known.

    `usual_cache` is what a model of that size usually takes where its own cache is not known. `cards`: so many GPUs
    take `vram` each; None where the engine spreads itself over all that it sees, and `vram` is of all together.
    """

    ram: Share | None
    vram: Share | None
    usual_cache: int | None = None
    cards: int | None = None


@dataclass(frozen=True)
class Fit:
    """The verdict. `sentence` has the figures of the memory that decides, `note` what limits it or is not known; GiB in
    both. `ways` are what would help, a clause each.
    """

    fits: bool
    sentence: str
    ways: tuple[str, ...]
    note: str
    need: Need
    room: Room

    @property
    def words(self) -> str:
        return f"{self.sentence}; {self.note}" if self.note else self.sentence

    def remedy(self, *more: str) -> str:
        *ways, last = *self.ways, *more
        text = f"{', '.join(ways)}, or {last}" if ways else last
        return f"{text[0].upper()}{text[1:]}."

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def element_bytes(cache_type: str | None) -> float:
    """Bytes of one number in a cache of that type (`f16`, `q8_0`, `fp8`); 16 bits where it is not known."""
    return (bits_of(cache_type) or 16) / 8


def gpu_share(layers: int | None, gpu_layers: int | None, *, gpu: bool) -> float:
    """The share of a model, 0 to 1, that a GPU gets. No number, or one below 0, is all of it.

    What comes after the last layer counts as one layer more (llama.cpp, `--n-gpu-layers`).
    """
    if not gpu:
        return 0.0
    if gpu_layers is None or gpu_layers < 0:
        return 1.0
    return min(1.0, gpu_layers / (layers + 1 if layers else _ALL_LAYERS))


def need_of(
    traits: Traits,
    *,
    context: int,
    parallel: int = 1,
    number_bytes: float = 2.0,
    share: float = 0.0,
    program_bytes: int = PROGRAM_BYTES,
    cache_bytes: int | None = None,
    cards: int | None = None,
    cache_parts: int = 1,
) -> Need:
    """What a model needs to work on `parallel` requests of `context` tokens each.

    `number_bytes` is the size of one number in the cache, `share` the part of the model on a GPU. `cache_bytes` is for
    an engine that sets aside so much whatever the context is. Weights that are mapped from a file count whole: what
    is pushed out of memory is read from the disk for every token. Of so many `cards` each has an equal part of the
    weights and one of `cache_parts` of the cache, and buffers of its own.
    """
    if traits.weights_bytes is None:
        return Need(None, None)
    tokens, usual = context * parallel, None
    per_token = traits.cache_bytes_per_token(number_bytes)
    cache = cache_bytes
    if cache is None and per_token is not None:
        cache = round(per_token * tokens)
    if cache is None:
        parameters = traits.weights_bytes * 8 / (bits_of(traits.quantization) or bits_of(_USUAL_QUANTIZATION) or 8)
        usual = round(usual_token_bytes(parameters) * number_bytes / 2 * tokens)
    buffers = min(_BUFFER_BYTES, traits.weights_bytes)

    def part(of: float, of_cache: float, program: int) -> Share:
        return Share(
            round(traits.weights_bytes * of) if traits.weights_bytes else 0,
            None if cache is None else round(cache * of_cache),
            program,
        )

    ram = part(1 - share, 1 - share, round(buffers * (1 - share)) + program_bytes)
    if not share:
        return Need(ram, None, usual)
    gpu = part(share / (cards or 1), share / cache_parts, round(buffers * share) + GPU_PROGRAM_BYTES)
    return Need(ram, gpu, usual, cards)


def fit(need: Need, room: Room, *, spills: bool = False, reserved_share: float | None = None) -> Fit:
    """Hold a need against a room.

    `spills`: the engine itself leaves in RAM what its GPU has no room for, so that both count together.
    `reserved_share` (0 to 1): the engine takes that share of each whole GPU and works within it.
    """
    note = _note(need, room)
    if need.ram is None:
        return Fit(True, "how much memory it needs is not known", (), note, need, room)
    if need.vram is not None and room.cards and spills:
        return Fit(*_together(_sum(need.ram, need.vram), room), note, need, room)
    checks = []
    if need.vram is not None and room.cards:
        if need.cards is None:
            checks.append(_on_cards(need.vram, room.cards))
        elif need.cards > len(room.cards):
            sentence = f"it is to work on {need.cards} GPUs, and sees {cards_named(room.cards)}"
            checks.append((False, sentence, ("let it work on fewer GPUs", "let it see more of them")))
        else:
            for card in room.cards[: need.cards]:
                if reserved_share is None:
                    checks.append(_on_cards(need.vram, (card,)))
                else:
                    checks += _reservation(need.vram, card, reserved_share)
    checks.append(_check(need.ram, room.ram, "memory", _ram_there(room), _ram_ways(room)))
    # The first that does not hold, else the first.
    decisive = next((check for check in checks if not check[0]), checks[0])
    return Fit(*decisive, note, need, room)


def fault_in_context(traits: Traits, context: int) -> str | None:
    """Whether a request may be longer than what the model was made for (tokens)."""
    if traits.max_context is None or context <= traits.max_context:
        return None
    return f"its context is {traits.max_context} tokens at most, and {context} are asked for"


# Whether it holds, the figures, and what would help.
_Check = tuple[bool, str, tuple[str, ...]]
_SMALLER = "take a smaller model, context or parallelism"
_FREE_GPU = "stop what else is on the GPU"


def _together(need: Share, room: Room) -> _Check:
    on_cards = sum(card.there for card in room.cards)
    there = room.ram + on_cards
    freed = there - min(room.ram, room.ram_available) - sum(card.available for card in room.cards)
    parts = [
        f"{_gib(room.ram)} of {'the MemoryMax of its unit' if _is_limited(room) else 'the host'}",
        f"{_gib(on_cards)} on {cards_named(room.cards)}",
    ]
    if room.ram_freed is None or any(card.freed is None for card in room.cards):
        parts.append("and what the model that goes holds is not known")
    elif freed:
        parts.append(f"{_gib(freed)} of all that of the model that goes")
    found = f"{_gib(there)} GiB are there ({', '.join(parts)})"
    return _check(need, there, "memory, the GPU's included,", found, (*_ram_ways(room), _FREE_GPU))


def _on_cards(need: Share, cards: t.Sequence[CardRoom]) -> _Check:
    there = sum(card.there for card in cards)
    on = f"memory on {cards_named(cards)}"
    return _check(need, there, on, _cards_there(cards), (_SMALLER, _FREE_GPU, "let it see other GPUs"))


def _reservation(need: Share, card: CardRoom, share: float) -> list[_Check]:
    """The two questions of an engine that takes a share of a GPU: does it suffice, and can it have it."""
    name, taken = cards_named((card,)), card.total * share
    of = f"{share:g} of the {_gib(card.total)} GiB of {name}"
    asked = f"it takes {of}, which are {_gib(taken)} GiB, and {_cards_there((card,))}"
    inside = f"{_gib(taken)} GiB are what it may take ({share:g} of {_gib(card.total)})"
    larger = (_SMALLER, "let it take a larger share of the GPU", "let it work on more of them")
    smaller = ("let it take a smaller share of the GPU", _FREE_GPU, "let it see other GPUs")
    return [
        _check(need, taken, f"memory on {name}", inside, larger),
        (taken <= card.there * (1 + TOLERANCE), asked, smaller),
    ]


def _check(need: Share, there: float, kind: str, found: str, ways: tuple[str, ...]) -> _Check:
    cache = f"cache {_gib(need.cache)}" if need.cache is not None else "cache not known"
    parts = f"weights {_gib(need.weights)}, {cache}, overhead {_gib(need.overhead)}"
    return (
        need.total <= there * (1 + TOLERANCE),
        f"it needs {_gib(need.total)} GiB of {kind} ({parts}), and {found}",
        ways,
    )


def _ram_there(room: Room) -> str:
    if room.ram_available + (room.ram_freed or 0) <= room.ram:
        return _there(room.ram, room.ram_available, room.ram_freed)
    return f"{_gib(room.ram)} GiB are all that it may have{' (MemoryMax of its unit)' if _is_limited(room) else ''}"


def _ram_ways(room: Room) -> tuple[str, ...]:
    return (_SMALLER, "raise memory_max of the runtime" if _is_limited(room) else "stop another runtime")


def _is_limited(room: Room) -> bool:
    """Whether it is the unit's own limit that decides."""
    found = room.ram_available + (room.ram_freed or 0)
    return room.memory_max is not None and room.memory_max < min(room.ram_total, found)


def _cards_there(cards: t.Sequence[CardRoom]) -> str:
    there, available = sum(card.there for card in cards), sum(card.available for card in cards)
    unknown = any(card.freed is None for card in cards)
    return _there(there, available, None if unknown else there - available)


def _there(there: int, available: int, freed: int | None) -> str:
    if freed is None:
        return f"{_gib(there)} GiB are there (what the model that goes holds of it is not known)"
    parts = f" ({_gib(available)} free, {_gib(freed)} of the model that goes)" if freed else ""
    return f"{_gib(there)} GiB are there{parts}"


def _sum(one: Share, other: Share) -> Share:
    cache = None if one.cache is None or other.cache is None else one.cache + other.cache
    return Share(one.weights + other.weights, cache, one.overhead + other.overhead)


def _note(need: Need, room: Room) -> str:
    notes = list(room.notes)
    if need.usual_cache is not None:
        notes.append(f"the size of its cache is not known; usual are {_gib(need.usual_cache)} GiB")
    return "; ".join(notes)


def _gib(size: float) -> str:
    """One decimal, and one digit of what is less than that."""
    if size <= 0:
        return "0"
    return f"{size / _GIB:.1f}" if size >= _GIB / 10 else f"{max(size / _GIB, 0.001):.1g}"
