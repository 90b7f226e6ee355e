# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of a host, such as logs, without the secrets in them: those that are known, and what looks like one."""

from __future__ import annotations

import json
import re
import typing as t

from .masking import MASK, masked_text, secret_starts
from .secret_name import is_secret_name

# A known value as short as this is hidden only where it stands alone, and a shorter one is none.
_SHORT, _SHORTEST = 5, 3
# What is found out to be a secret by its name only must be long enough that hiding it hides nothing else.
_TELLING = 8
# Characters of a line that are looked at: more is no line for people.
_LONGEST = 2000
_ENDLESS, _ELLIPSIS = re.compile(r"[A-Za-z0-9_.-]{160,}"), "(…)"
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]")
# Colours and the like (ECMA-48), and characters that would move a terminal's cursor.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def secrets_in_words(words: t.Sequence[str]) -> set[str]:
    """The values of a command line that its options' names make secrets."""
    values = (word[start:] for word, start in zip(words, secret_starts(words)))
    return {value for value in values if len(value) >= _TELLING}


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
        return masked_text(_ENDLESS.sub(_ELLIPSIS, text))

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
