# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a runtime says and answers proves that it serves what it should."""

from __future__ import annotations

from .engine import Completion, Served, Settings

# Short and the same for everybody, so that replies of two hosts can be compared.
PROMPT = "Say who you are in one short sentence."
MAX_TOKENS = 16
# Above this share of undecodable characters a reply is noise.
_NOISE_SHARE = 0.25


def fault_in_facts(served: Served, settings: Settings) -> str | None:
    """What the engine says of itself against what was asked; None when all of it agrees."""
    missing = [name for name in settings.served_names if name not in served.names]
    if missing:
        return f"it serves {', '.join(served.names) or 'no name'}, not {', '.join(missing)}"
    if served.model_path is not None and served.model_path != settings.model_path:
        return f"it has loaded {served.model_path}, not {settings.model_path}"
    if served.context_length is not None and served.context_length < settings.context_length:
        return f"its context is {served.context_length} tokens, {settings.context_length} were asked for"
    return None


def fault_in_tokens(completion: Completion) -> str | None:
    """Whether a reply is text: not silence, not noise, not one word for ever."""
    text = completion.text.strip()
    if not text:
        return "its reply is empty"
    noise = sum(letter == "\ufffd" or not (letter.isprintable() or letter.isspace()) for letter in text)
    if noise > _NOISE_SHARE * len(text):
        return f"its reply is noise: {text[:60]!r}"
    words = text.split()
    if len(words) > 4 and len(set(words)) == 1:
        return f"its reply repeats one word: {text[:60]!r}"
    return None
