# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that can be shown: what is or looks like a secret is masked."""

from __future__ import annotations

import re
import typing as t

MASK = "***"

# What a secret is called, as a part of a name that is cut at `-` and `_` and where letters grow.
_SECRET = (
    r"(?:api[-_]?keys?|key|secrets?|tokens?|passwords?|passwd|passphrase|pwd|credentials?|auth|authorization|bearer)"
)
# `--max-tokens 5` and the like count words; they hide nothing.
_COUNTED = re.compile(r"(?i)(?:max|min|num|n|batched|batch|predict|context|per|draft|speculative)[-_a-z]*tokens?\b")
_NAME = re.compile(rf"(?i)(?:^|[-_.]){_SECRET}(?:$|[-_.])")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FILE_LIKE = re.compile(r"(?i)[-_](?:file|path|env|name|type|parser|id)s?$")
# name=value or name: value, also inside of JSON, an address's query or a header.
_PAIR = re.compile(
    r"""(?P<name>[A-Za-z][A-Za-z0-9_.-]*)(?P<quote>["']?)(?P<mark>\s*(?:=|:(?!//))\s*["']?)(?P<value>[^\s"',;&?}\]]+)"""
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{6,}")
_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
# Forms by which hubs and clouds make their tokens known.
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_|sk-|pk-|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|nvapi-|gsk_|r8_|AKIA|AIza|ya29\.|dckr_pat_|tvly-)"
    r"[A-Za-z0-9_.-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
)
# Letters and digits without a pause, too long for a word; not a digest, which is no secret and tells which model it is.
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{24,}(?![A-Za-z0-9])")
_BEFORE_DIGEST = re.compile(r"(?:sha256[-:]|[@/])$")
_DIGEST_OPTION = re.compile(r"(?i)(?:revision|commit|digest|sha|sha256)$")
_OPTION = re.compile(r"-[A-Za-z]|--?[a-z][a-z_-]*(?:=.*)?")


def masked(words: t.Sequence[str]) -> str:
    """The words of a command line as one line, without the values that nobody else is to see."""
    shown: list[str] = []
    before = ""
    for word in words:
        if _is_secret(before) and not _OPTION.fullmatch(word):
            shown.append(MASK)
        elif _DIGEST_OPTION.search(before) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", word):
            shown.append(word)
        else:
            shown.append(_masked_word(word))
        # An option whose value is the next word.
        before = word.lstrip("-") if word.startswith("-") and "=" not in word else ""
    return " ".join(shown)


def _is_secret(name: str) -> bool:
    spaced = _CAMEL.sub("-", name)
    return bool(_NAME.search(spaced)) and not _COUNTED.search(spaced) and not _FILE_LIKE.search(spaced)


def _masked_word(word: str) -> str:
    word = _ADDRESS.sub(MASK, word)
    word = _SCHEME.sub(lambda found: f"{found.group(1)} {MASK}", word)
    word = _without_pairs(word)
    word = _KNOWN.sub(MASK, word)
    return _RANDOM.sub(lambda found: found.group(0) if _is_digest(found) else MASK, word)


def _without_pairs(word: str) -> str:
    done, position = "", 0
    while True:
        found = _PAIR.search(word, position)
        if not found:
            return done + word[position:]
        value = found["value"]
        hide = _is_secret(found["name"]) and not value.startswith(MASK) and value.lower() not in ("bearer", "basic")
        # A value that is shown can be a pair itself.
        done += word[position : found.start("value")] + (MASK if hide else "")
        position = found.end() if hide else found.start("value")


def _is_digest(found: re.Match[str]) -> bool:
    hexadecimal = re.fullmatch(r"[0-9a-f]+", found.group(0)) is not None
    return hexadecimal and _BEFORE_DIGEST.search(found.string[: found.start()]) is not None
