# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits into the memory that there is, before anything is stopped for it.

Only what was read is held against a model: its weights, the cache of its own layers, what its program takes. A figure
that is usual but not read is told in a note and refuses nothing. Sizes are bytes, GB in sentences are 10^9 of them.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from .hardware import bits_of, usual_token_bytes
from .model import GB
from .traits import Traits

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
class Room:
    """Memory of a host, in bytes, and what the model that goes gives back of it.

    `ram_freed` must not hold pages of files: the kernel counts these as available already. Without a GPU whose memory
    is known, `vram_total` and `vram_available` are None.
    """

    ram_total: int
    ram_available: int
    ram_freed: int = 0
    vram_total: int | None = None
    vram_available: int | None = None
    vram_freed: int = 0

    @property
    def ram(self) -> int:
        return min(self.ram_total, self.ram_available + self.ram_freed)

    @property
    def vram(self) -> int | None:
        if self.vram_total is None or self.vram_available is None:
            return None
        return min(self.vram_total, self.vram_available + self.vram_freed)


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

    `usual_cache` is what a model of that size usually takes where its own cache is not known.
    """

    ram: Share | None
    vram: Share | None
    usual_cache: int | None = None


@dataclass(frozen=True)
class Fit:
    """The verdict. `sentence` has the figures of the memory that decides, `note` what is not known; GB in both."""

    fits: bool
    sentence: str
    note: str
    need: Need
    room: Room

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
) -> Need:
    """What a model needs to work on `parallel` requests of `context` tokens each.

    `number_bytes` is the size of one number in the cache, `share` the part of the model on a GPU. `cache_bytes` is for
    an engine that sets aside so much whatever the context is. Weights that are mapped from a file count whole: what
    is pushed out of memory is read from the disk for every token.
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

    def part(of: float, program: int) -> Share:
        return Share(
            round(traits.weights_bytes * of) if traits.weights_bytes else 0,
            None if cache is None else round(cache * of),
            round(buffers * of) + program,
        )

    return Need(part(1 - share, program_bytes), part(share, GPU_PROGRAM_BYTES) if share else None, usual)


def fit(need: Need, room: Room, *, spills: bool = False, reserved_share: float | None = None) -> Fit:
    """Hold a need against a room.

    `spills`: the engine itself leaves in RAM what its GPU has no room for, so that both count together.
    `reserved_share` (0 to 1): the engine takes that share of the whole GPU and works within it.
    """
    note = _note(need, room)
    if need.ram is None:
        return Fit(True, "how much memory it needs is not known", note, need, room)
    checks = []
    if need.vram is not None and room.vram is not None:
        if spills:
            there = room.ram + room.vram
            available, freed = room.ram_available + (room.vram_available or 0), room.ram_freed + room.vram_freed
            found = _there(there, available, freed)
            fits, sentence = _check(_sum(need.ram, need.vram), there, "memory, the GPU's included,", found)
            return Fit(fits, sentence, note, need, room)
        if reserved_share is not None:
            checks += _reservation(need.vram, room, reserved_share)
        else:
            found = _there(room.vram, room.vram_available or 0, room.vram_freed)
            checks.append(_check(need.vram, room.vram, "GPU memory", found))
    checks.append(_check(need.ram, room.ram, "memory", _there(room.ram, room.ram_available, room.ram_freed)))
    return Fit(*_worst(checks), note, need, room)


def fault_in_context(traits: Traits, context: int) -> str | None:
    """Whether a request may be longer than what the model was made for (tokens)."""
    if traits.max_context is None or context <= traits.max_context:
        return None
    return f"its context is {traits.max_context} tokens at most, and {context} are asked for"


def _reservation(need: Share, room: Room, share: float) -> list[tuple[bool, str]]:
    """The two questions of an engine that takes a share: can it have it, and does it suffice."""
    there, total = room.vram or 0, room.vram_total or 0
    taken = total * share
    found = _there(there, room.vram_available or 0, room.vram_freed)
    asked = f"it takes {share:g} of the GPU's {_gb(total)} GB, which are {_gb(taken)} GB, and {found}"
    inside = f"{_gb(taken)} GB are what it may take ({share:g} of the GPU's {_gb(total)})"
    return [_check(need, taken, "GPU memory", inside), (taken <= there * (1 + TOLERANCE), asked)]


def _check(need: Share, there: float, kind: str, found: str) -> tuple[bool, str]:
    cache = f"cache {_gb(need.cache)}" if need.cache is not None else "cache not known"
    parts = f"weights {_gb(need.weights)}, {cache}, overhead {_gb(need.overhead)}"
    return need.total <= there * (1 + TOLERANCE), f"it needs {_gb(need.total)} GB of {kind} ({parts}), and {found}"


def _worst(checks: t.Sequence[tuple[bool, str]]) -> tuple[bool, str]:
    """The first that does not hold, else the first."""
    return next((check for check in checks if not check[0]), checks[0])


def _there(there: int, available: int, freed: int) -> str:
    if there < available + freed:
        return f"{_gb(there)} GB are all that it may have"
    parts = f" ({_gb(available)} free, {_gb(freed)} of the model that goes)" if freed else ""
    return f"{_gb(there)} GB are there{parts}"


def _sum(one: Share, other: Share) -> Share:
    cache = None if one.cache is None or other.cache is None else one.cache + other.cache
    return Share(one.weights + other.weights, cache, one.overhead + other.overhead)


def _note(need: Need, room: Room) -> str:
    notes = []
    if need.vram is not None and room.vram is None:
        notes.append("how much memory the GPU has is not known")
    if need.usual_cache is not None:
        notes.append(f"the size of its cache is not known; usual are {_gb(need.usual_cache)} GB")
    return "; ".join(notes)


def _gb(size: float) -> str:
    """One decimal, and one digit of what is less than that."""
    if size <= 0:
        return "0"
    return f"{size / GB:.1f}" if size >= GB / 10 else f"{max(size / GB, 0.001):.1g}"
