# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a runtime says and answers proves that it serves what it should.

Every `fault_in_…` is a sentence's end ("it answers, but …") or None. None of them looks for a good answer: a small
model may say foolish things. They look for what no working model says.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass

from .engine import Completion, Served, Settings
from .fit import GPU_PROGRAM_BYTES

# Short and the same for everybody, so that replies of two hosts can be compared.
PROMPT = "Say who you are in one short sentence."
MAX_TOKENS = 16
# What is asked for a fingerprint where the user has no prompts: answers that hardly depend on the day or the host.
GOLDEN_PROMPTS = (PROMPT, "Count from one to ten in words.", "Name the days of the week.")
# Above this share of undecodable characters a reply is noise.
_NOISE_SHARE = 0.25
# Above this share of control characters, of which text has none besides white space.
_CONTROL_SHARE = 0.05
# A character of several tokens that the limit cuts leaves up to so many replacement characters.
_CUT_BYTES = 3
# A loop: so much of the reply says the same again and again.
_LOOP_SHARE = 0.8
# Turns of a loop that nobody takes for emphasis, by the number of words in a turn; longer ones as the last.
_WORD_TURNS = (5, 4, 3)
# The same where no spaces tell words: turns by the bytes (UTF-8) of a turn at least, and of all turns.
_LETTER_TURNS = ((15, 3), (2, 4))
_LETTER_BYTES = 16
_SAME_LETTERS = 12
# Letters for each word, above which a text is not made of words with spaces between them.
_LONG_WORDS = 8
# Words or letters that are looked at for loops; the work grows with their square.
_LOOKED_AT = 400
# Weights are on an accelerator where it has at least this share of them: the rest may be left in RAM on purpose.
_ON_GPU_SHARE = 0.5
# Shorter beginnings of a digest say too little.
_DIGEST_LETTERS = 12


def fault_in_facts(served: Served, settings: Settings) -> str | None:
    """What the engine says of itself against what was asked; None when all of it agrees."""
    if not settings.model_path:
        # A program that stays up, and was asked to serve nothing yet.
        return None
    missing = [name for name in settings.served_names if name not in served.names]
    if missing:
        return f"it serves {', '.join(served.names) or 'no name'}, not {', '.join(missing)}"
    if served.model_path is not None and served.model_path != settings.model_path:
        return f"it has loaded {served.model_path}, not {settings.model_path}"
    if served.context_length is not None and served.context_length < settings.context_length:
        return f"its context is {served.context_length} tokens, {settings.context_length} were asked for"
    return None


def fault_in_tokens(
    completion: Completion,
    *,
    max_tokens: int = MAX_TOKENS,
    prompt: str = PROMPT,
    names: t.Iterable[str] = (),
) -> str | None:
    """Whether a reply is text: not silence, not noise, not the same for ever, not only what it was given.

    `names` are the served names. A reply that the limit cuts is none the worse for it.
    """
    text = completion.text.strip()
    if _is_noise(text):
        return f"its reply is noise: {_shown(text)}"
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        return "its reply is empty"
    words = _words(text)
    told = " ".join(words)
    if told and told in {" ".join(_words(name)) for name in names}:
        return f"its reply is only the name that was asked for: {_shown(text)}"
    if told and _is_echo(told, " ".join(_words(prompt))):
        return f"its reply is only the question: {_shown(text)}"
    if _loops(text, words):
        return f"its reply repeats itself: {_shown(text)}"
    if completion.tokens >= max_tokens:
        return _fault_at_the_limit(completion, text, words)
    return None


def _fault_at_the_limit(completion: Completion, text: str, words: t.Sequence[str]) -> str | None:
    """A reply may use up its tokens, but then it has more to show than one word."""
    letters = "".join(text.split())
    if (len(words) > 1 and len(set(words)) == 1) or (len(letters) > 1 and len(set(letters)) == 1):
        return f"its reply repeats one word until the limit of {completion.tokens} tokens: {_shown(text)}"
    # No token is less than a byte; one more ends the reply.
    if completion.tokens > len(_bytes(completion.text)) + 1:
        return f"its reply shows {len(text)} characters for {completion.tokens} tokens: {_shown(text)}"
    return None


def _is_noise(text: str) -> bool:
    # The limit may have cut the last character; that is no noise where there is anything before it.
    whole = text.rstrip("\ufffd")
    if whole and len(text) - len(whole) <= _CUT_BYTES:
        text = whole
    controls = _controls(text)
    # Half characters of UTF-16, and the areas that no standard gives a meaning.
    wrong = sum("\ud800" <= letter <= "\uf8ff" or letter == "\ufffd" or letter >= "\U000f0000" for letter in text)
    return controls > _CONTROL_SHARE * len(text) or controls + wrong > _NOISE_SHARE * len(text)


def _controls(text: str) -> int:
    """How many characters neither show nor space, not counting those that join and direct others."""
    return sum((letter < " " or "\x7f" <= letter < "\xa0") and not letter.isspace() for letter in text)


def _is_echo(told: str, asked: str) -> bool:
    """Whether a reply is the question, however often, the last time perhaps cut; half of it is too little to say so."""
    if not asked or 2 * len(told) < len(asked):
        return False
    return f"{asked} {' '.join([asked] * (len(told) // len(asked) + 1))}".startswith(told)


def _loops(text: str, words: t.Sequence[str]) -> bool:
    """Whether words, or letters where no spaces tell words, come again and again in the same order."""
    for turn, turns, share in _turns(words[:_LOOKED_AT]):
        if share >= _LOOP_SHARE and turns >= _WORD_TURNS[min(turn, len(_WORD_TURNS)) - 1]:
            return True
    letters = "".join(text.split())
    if len(letters) < _LONG_WORDS * len(words):
        return False
    letters = letters[:_LOOKED_AT]
    return any(
        share >= _LOOP_SHARE and _is_letter_loop(letters[:turn], turns) for turn, turns, share in _turns(letters)
    )


def _is_letter_loop(letters: str, turns: float) -> bool:
    if len(letters) == 1:
        return turns >= _SAME_LETTERS
    size = len(_bytes(letters))
    long_enough = any(size >= least and turns >= enough for least, enough in _LETTER_TURNS)
    return long_enough and size * turns >= _LETTER_BYTES


def _turns(units: t.Sequence[str]) -> t.Iterator[tuple[int, float, float]]:
    """For each length of a turn, its longest unbroken run: the length, how many turns, and the share of the whole."""
    for turn in range(1, len(units) // 2 + 1):
        longest = run = 0
        for at in range(turn, len(units)):
            run = run + 1 if units[at] == units[at - turn] else 0
            longest = max(longest, run)
        if longest:
            yield turn, (longest + turn) / turn, (longest + turn) / len(units)


def _words(text: str) -> list[str]:
    """Words without signs around them and without case; signs alone are words too."""
    return [re.sub(r"^\W+|\W+$", "", word) or word for word in text.casefold().split()]


def _bytes(text: str) -> bytes:
    """UTF-8; JSON can carry halves of UTF-16 pairs, which have none."""
    return text.encode("utf-8", "replace")


def _shown(text: str) -> str:
    return repr(text[:60])


def fault_in_speed(completion: Completion, floor: float) -> str | None:
    """Whether a reply came at less than so many tokens a second, the reading of the prompt included; 0 is no floor."""
    if floor <= 0:
        return None
    rate = completion.tokens_per_second
    if rate is None:
        return f"it does not tell how many tokens it made, and {floor:g} a second were asked for"
    return f"it makes {rate:g} tokens a second, and {floor:g} were asked for" if rate < floor else None


def fault_in_accelerator(
    served: Served, process_vram_bytes: int | None, wish: str, *, weights_bytes: int | None = None
) -> str | None:
    """Whether weights are where they were wished, `gpu` or `cpu`; `any` is content.

    What the engine says of itself counts before `process_vram_bytes`, what its processes were measured to hold on
    GPUs. That holds more than weights: a driver's own share is no sign of them.
    """
    if wish not in ("gpu", "cpu"):
        return None
    held = process_vram_bytes if served.vram_bytes is None else served.vram_bytes
    weights = served.memory_bytes if weights_bytes is None else weights_bytes
    least = _ON_GPU_SHARE * weights if weights else 1
    if wish == "cpu":
        least += GPU_PROGRAM_BYTES if served.vram_bytes is None else 0
        return f"{_megabytes(held)} of it are on a GPU, not on the CPU" if held and held >= least else None
    if held is None:
        return "nothing tells whether its weights are on a GPU"
    if held >= least:
        return None
    of = f" of {_megabytes(weights)}" if weights else ""
    return f"its weights are not on a GPU: {_megabytes(held)}{of} are there"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def fault_in_digest(seen: str | None, asked: str) -> str | None:
    """Whether the bytes that answer are others than those that were installed; a beginning of a digest is enough."""
    if not seen or not asked:
        return None
    short, long = sorted((_bare(seen), _bare(asked)), key=len)
    if long.startswith(short) and (len(short) >= _DIGEST_LETTERS or short == long):
        return None
    return f"other bytes answer than those that are installed: {_bare(seen)[:19]}, not {_bare(asked)[:19]}"


def _bare(digest: str) -> str:
    return digest.strip().lower().rpartition(":")[2]


@dataclass(frozen=True)
class Golden:
    """A prompt, and what is right as its greedy reply: word for word, whatever the white space. None: not known yet."""

    prompt: str
    reply: str | None = None


def golden_pairs(given: t.Iterable[t.Mapping[str, str]]) -> tuple[Golden, ...]:
    """The user's pairs of `prompt` and, if known, `reply`; where there are none, our prompts."""
    pairs = tuple(Golden(pair["prompt"], pair.get("reply")) for pair in given)
    return pairs or tuple(Golden(prompt) for prompt in GOLDEN_PROMPTS)


def golden_key(model_sha256: str, engine: str, version: str, accelerator: str) -> str:
    """Under which replies are kept: another build or device may round otherwise, and so choose other words."""
    return " ".join((model_sha256, engine, version, accelerator))


def golden_record(key: str, replies: t.Sequence[Golden]) -> dict[str, t.Any]:
    """What is kept of a first activation under `key`: prompts, replies, and one hash over all of it."""
    pairs = [{"prompt": pair.prompt, "reply": pair.reply} for pair in replies]
    text = json.dumps([key, pairs], sort_keys=True)
    return {"fingerprint": hashlib.sha256(text.encode()).hexdigest(), "replies": pairs}


def golden_known(pairs: t.Sequence[Golden], records: t.Mapping[str, t.Any], key: str) -> tuple[Golden, ...]:
    """Pairs with the replies that are kept under `key`, where the user gave none.

    What is kept counts only if its hash is right; what is damaged is as if it were not there.
    """
    try:
        kept = [Golden(str(pair["prompt"]), str(pair["reply"])) for pair in records[key]["replies"]]
        sound = golden_record(key, kept)["fingerprint"] == records[key]["fingerprint"]
    except (KeyError, TypeError):
        sound = False
    known = {pair.prompt: pair.reply for pair in kept} if sound else {}
    return tuple(pair if pair.reply is not None else Golden(pair.prompt, known.get(pair.prompt)) for pair in pairs)


def fault_in_golden(pairs: t.Sequence[Golden], replies: t.Sequence[str]) -> str | None:
    """The first reply that is not the right one, and its first differing word. A pair without a reply is content."""
    if len(replies) != len(pairs):
        return f"there are {len(replies)} replies to {len(pairs)} prompts"
    for pair, reply in zip(pairs, replies):
        if pair.reply is not None and reply.split() != pair.reply.split():
            return f"its reply to {_shown(pair.prompt)} {_difference(pair.reply.split(), reply.split())}"
    return None


def _difference(right: t.Sequence[str], told: t.Sequence[str]) -> str:
    at = next((at for at, (one, other) in enumerate(zip(right, told)) if one != other), min(len(right), len(told)))
    if at >= len(told):
        return f"ends after {at} words, where {right[at]!r} is right"
    if at >= len(right):
        return f"goes on with {told[at]!r} after {at} words, where its end is right"
    return f"has {told[at]!r} as word {at + 1}, where {right[at]!r} is right"
