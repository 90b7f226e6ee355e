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
# As the end of a longer word: `dbpassword`, `clientsecret`.
_ENDS = ("password", "passwd", "secret", "apikey", "accesskey", "secretkey", "privatekey", "token")
# These have other meanings in texts on models, where a token is a word and a key is looked up.
_DOUBTFUL = frozenset(("key", "token", "tokens"))
# `max_tokens`, `eos_token`, `num_key_value_heads` count and name words; `cached_tokens`, but not `cached_token`.
_OF_WORDS = frozenset(("max", "min", "num", "n", "per", "bos", "eos", "eot", "eog", "eom", "pad", "unk", "sep", "cls"))
_OF_MANY_WORDS = frozenset((
    "batch", "batched", "predict", "predicted", "evaluated", "context", "draft", "speculative", "prompt",
    "completion", "total", "cached", "reasoning", "input", "output", "generated", "generation", "new", "special",
    "added", "preserved",
))  # fmt: skip
# What only says something about a secret, or where it is: `api_key_file`, `token_type`.
_ABOUT = frozenset((
    "file", "path", "env", "name", "type", "parser", "id", "length", "count", "size", "detail", "weight",
))  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether what has this name is something that nobody is to see."""
    parts = [part.rstrip("0123456789") for part in _CUT.split(name)]
    parts = "-".join(part.lower() for part in parts if part).replace("api-key", "apikey").split("-")
    if parts[-1] in _ABOUT or (parts[-1][-1:] == "s" and parts[-1][:-1] in _ABOUT):
        return False
    if any(part in _SECRETS or (part not in _DOUBTFUL and part.endswith(_ENDS)) for part in parts):
        return True
    if not _OF_WORDS.isdisjoint(parts) or ("tokens" in parts and not _OF_MANY_WORDS.isdisjoint(parts)):
        return False
    return not _DOUBTFUL.isdisjoint(parts)
