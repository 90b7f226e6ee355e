# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of a host, such as logs, without the secrets in them: those that are known, and what looks like one."""

from __future__ import annotations

import json
import re
import typing as t

from .masking import MASK, masked

# A known value as short as this is hidden only where it stands alone, and a shorter one is none.
_SHORT, _SHORTEST = 5, 3
# What is found out to be a secret by its name only must be long enough that hiding it hides nothing else.
_TELLING = 8
# Characters of a line that are looked at: more is no line for people, and patterns take long over it.
_LONGEST = 2000
_ENDLESS, _ELLIPSIS = re.compile(r"[A-Za-z0-9_.-]{160,}"), "(…)"
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]")
# 'api_key': ['value'] or ['--api-key', 'value'] or "--api-key" "value", as programs print their arguments.
_LISTED = re.compile(
    r"""(?P<name>[A-Za-z][\w.-]*)(?P<mark>["']?\s*[:,=]\s*[\[({]*\s*|["']\s+)(?P<quote>["'])(?P<value>[^"']+)(?P=quote)"""
)
# Colours and the like (ECMA-48), and characters that would move a terminal's cursor.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def is_secret_name(name: str) -> bool:
    """Whether a variable or option of this name holds something that nobody is to see."""
    return masked([f"{name}=shown"]) != f"{name}=shown"


def secrets_in_words(words: t.Sequence[str]) -> set[str]:
    """The values of a command line that its options' names make secrets."""
    found = set()
    for before, word in zip(["", *words], words):
        name, equals, value = word.lstrip("-").partition("=")
        if equals and is_secret_name(name):
            found.add(value)
        elif before.startswith("-") and "=" not in before and masked([before, word]) == f"{before} {MASK}":
            found.add(word)
    return {value for value in found if len(value) >= _TELLING}


def secrets_in_variables(variables: t.Mapping[str, str], named: t.Container[str] = ()) -> set[str]:
    """The values of variables that are secrets by their names; of those in `named` whatever they are called."""
    return {
        value
        for name, value in variables.items()
        if name in named or (is_secret_name(name) and len(value) >= _TELLING and not value.startswith("/"))
    }


class Hiding:
    """Hides the given values wherever they occur, and all that looks like a secret."""

    def __init__(self, secrets: t.Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: one can be a part of another.
        self._known = sorted(forms, key=lambda form: (-len(form), form))

    def value(self, value: t.Any) -> t.Any:
        """A value of lists and mappings with every text in it as it can be shown, one line each."""
        if isinstance(value, str):
            return self.line(value)
        if isinstance(value, dict):
            return {key: self.value(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each) for each in value]
        return value

    def line(self, text: str) -> str:
        text = _CONTROL.sub(" ", _ESCAPE.sub("", text))
        # What is known first: by its form alone a part of it might be left.
        text = self.known(text)
        if len(text) > _LONGEST:
            # Between words: what is left of a secret that was cut in two looks like none.
            text = text[:_LONGEST].rpartition(" ")[0] + " …"
        text = _without_listed(_ENDLESS.sub(_ELLIPSIS, text))
        # As a whole for `name: value` and `Bearer value`, by words for `--name value`.
        return masked(masked([text]).split(" "))

    def known(self, text: str) -> str:
        """The text without the given values."""
        for form in self._known:
            if len(form) > _SHORT:
                text = text.replace(form, MASK)
            else:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])", MASK, text)
        return text


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it stands in JSON, in an environment file, in a unit and in an address."""
    address = "".join(
        letter if _UNRESERVED.fullmatch(letter) else "".join(f"%{byte:02X}" for byte in letter.encode())
        for letter in secret
    )
    return {
        secret,
        secret.strip(),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("%", "%%").replace("$", "$$"),
        re.sub(r'(["\\`$])', r"\\\1", secret),
        address,
    } - {""}


def _without_listed(text: str) -> str:
    done, position = "", 0
    while True:
        found = _LISTED.search(text, position)
        if not found:
            return done + text[position:]
        hide = is_secret_name(found["name"])
        # What is shown can be the name of what comes next.
        done += text[position : found.start("value")] + (MASK if hide else "")
        position = found.end("value") if hide else found.start("value")
