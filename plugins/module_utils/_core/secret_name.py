# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names of variables, options, headers and fields are those of secrets."""

from __future__ import annotations

import re

# Where a name is cut: at marks, and where a capital begins a word (`hfToken`, `HFToken`).
_CUT = re.compile(r"[-_.]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SECRETS = frozenset((
    "apikey", "apikeys", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "credential",
    "credentials", "auth", "authorization", "bearer", "signature", "sig",
))  # fmt: skip
# As the last word only: `pass-through` and `jwt_algorithm` are none.
_LAST_SECRETS = frozenset(("pass", "pat", "jwt", "cookie", "cookies"))
# As the end of a longer word: `dbpassword`, `clientsecret`.
_ENDS = ("password", "passwd", "secret", "apikey", "accesskey", "secretkey", "privatekey", "token")
# These have other meanings in texts on models, where a token is a word and a key is looked up.
_DOUBTFUL = frozenset(("key", "token", "tokens"))
# `max_tokens`, `eos_token` count and name words; `cached_tokens`, but not `cached_token`.
_COUNTS = frozenset(("max", "min", "num", "n"))
_OF_WORDS = _COUNTS | frozenset(("per", "bos", "eos", "eot", "eog", "eom", "pad", "unk", "sep", "cls"))
_OF_MANY_WORDS = frozenset((
    "batch", "batched", "predict", "predicted", "evaluated", "context", "draft", "speculative", "prompt",
    "completion", "total", "cached", "reasoning", "input", "output", "generated", "generation", "new", "special",
    "added", "preserved",
)) | _OF_WORDS  # fmt: skip
# What only says something about a secret, or where it is: `api_key_file`, `token_type`.
_ABOUT = frozenset((
    "file", "path", "env", "name", "type", "parser", "id", "length", "count", "size", "detail", "weight",
))  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether what has this name is something that nobody is to see."""
    parts = _parts(name)
    if parts[-1] in _ABOUT or (parts[-1][-1:] == "s" and parts[-1][:-1] in _ABOUT):
        return False
    if any(part in _SECRETS or (part not in _DOUBTFUL and part.endswith(_ENDS)) for part in parts):
        return True
    return parts[-1] in _LAST_SECRETS or any(_has_secret(_parts(section)) for section in name.split("."))


def _parts(name: str) -> list[str]:
    parts = [part.rstrip("0123456789") for part in _CUT.split(name)]
    joined = "-".join(part.lower() for part in parts if part)
    # The second is of a model's cache.
    return joined.replace("api-key", "apikey").replace("key-value-heads", "heads").split("-")


def _has_secret(parts: list[str]) -> bool:
    """Whether there is a key, or a token that is no word: those have nothing before them but words that count."""
    place = next((index for index, part in enumerate(parts) if part in _DOUBTFUL), None)
    if place is None:
        return False
    before, after = parts[:place], parts[place + 1 :]
    if parts[place] == "key" or not _DOUBTFUL.isdisjoint(after):
        return True
    many = parts[place] == "tokens"
    if not before:
        words = _OF_MANY_WORDS if many else _OF_WORDS
        return not after or after[0] not in words
    if many and not _COUNTS.isdisjoint(before):
        return False
    return not _OF_MANY_WORDS.issuperset(before) or (not many and _OF_WORDS.isdisjoint(before))
