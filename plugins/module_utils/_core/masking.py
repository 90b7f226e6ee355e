# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines and texts that can be shown: what is or looks like a secret is masked.

A text of any length takes time in proportion to it. For that no pattern can begin in the middle of the characters that
it takes all of, and what a pattern has looked at is not looked at again from its beginning.
"""

from __future__ import annotations

import functools
import re
import typing as t

from .secret_name import is_secret_name

MASK = "***"

_OPTION = re.compile(r"-[A-Za-z]|--?[a-z][a-z_-]*(?:=.*)?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")
# Servers take several of these, one word after the other.
_SEVERAL = re.compile(r"(?i)-api[-_]?keys?")
# A name and what leads from it to its value: `name=`, `"name": `, `name => `, `headers["name"] = `, `name[0]: `;
# `name: NAME, value: ` of lists of variables; `("name", "value")`; `--name value` and `"--name", "value"`.
_NAMED = re.compile(
    r"""(?<![A-Za-z0-9_.-]) (?P<quoted>(?<=["']))? (?P<name>(?P<option>-)?[A-Za-z0-9_.-]+)
    (?![A-Za-z0-9_.-]) (?P<close>\\*["'])?
    (?: (?:\[\w{0,40}\]|\])? \s* (?P<mark>=+>?|:+=?(?!//)) \s*
      | (?:\s*,)? \s* \\*["']? value \\*["']? \s* [:=] \s*
      | (?(quoted)(?(close)\s*(?P<listed>,)\s*(?=[bBrRuU]?\\*["'])|(?!))|(?!))
      | (?(option)\s*[,\s]\s*|(?!))
    )""",
    re.VERBOSE | re.ASCII,
)
# An option in the place of a value.
_NEXT_OPTION = re.compile(r"""["'\\]*(?:-[A-Za-z]|--?[a-z][a-z_-]*(?:=\S*)?)(?=[\s"',\]]|$)""")
# What can stand before a value and is shown: a list's dash, a type, the sign of a block (YAML), a header's scheme.
_LEAD = re.compile(
    r"(?i)(?:-\s+|!(?:!(?:str|binary)|vault)\s+|[|>][-+]?\s+|(?:bearer|basic|token|digest|negotiate|apikey)\s+)*"
)
# After a text in quotes, which is a name then.
_NAMES = re.compile(r"\s*:")
_NEXT_ITEM = re.compile(r"\s+-\s+")
# What opens a value that has an end of its own: `"`, `\"`, `b'`, `[`, `SecretStr(`.
_OPENED = re.compile(r"""(?:[bBrRuUfF]{0,2}(?P<escapes>\\*)(?P<quote>["'])|[A-Za-z0-9_.]{0,60}[\[({])""")
_QUOTE = re.compile(r"""(?<!\\)(\\*)(["'])""")
# A shell's way to have a quote inside of quotes: `'"'"'` and `'\''`.
_QUOTED_QUOTE = re.compile(r"""'(?:"'"|\\')'""")
_BRACKET = re.compile(r"""(?P<opened>[\[({]+)|(?P<closed>[\])}]+)|(?<!\\)(?P<escapes>\\*)(?P<quote>["'])""")
# Where any other value ends: at a space, before the next pair, or at the end of what is around it.
_END = re.compile(
    r"""\s
    | [,;&](?= \s | $ | [\\"'\[({]* [A-Za-z0-9_.-]+ \\*["']? \s* [:=]+ [^\s,;&:=] )
    | (?<!\\)\\*["'`\])}] (?= [\s,;:&)\]}>"'`\\.|] | $ )""",
    re.VERBOSE,
)
# A header of cookies is one value, of pairs with semicolons between them.
_COOKIE = re.compile(r"(?i)(?:.*[-_.])?cookies?2?")
_MORE_COOKIES = re.compile(r"""(?:;[ \t]*[^\s;="']+(?:="?[^\s;"']*"?(?=[;\s"']|$))?)+""")
# It hides nothing to show that there is no secret.
_NOTHING = frozenset(("", "none", "null", "true", "false", MASK))
# `tokens: [5, 17]`: numbers and counts of words.
_TOKENS = re.compile(r"(?i)tokens?")
_NUMBERS = re.compile(r"(?![\s\S]*\d{7})[\s\[\]().,0-9]+")

_SCHEME = re.compile(r"(?i)\b(bearer|basic|token)(\s+)(?!(?:bearer|basic|token)\b)([A-Za-z0-9._~+/=-]{6,})")
# `bearer authentication` and `token generation` are words, and `token 128004` is a number.
_WORD = re.compile(r"(?i)authenti[a-z]+|authori[a-z]+|tokens|scheme")
_MIXED = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])|[a-zA-Z]*[a-z][A-Z]")
_ADDRESS = re.compile(r"""(?<=://)[^/\s"']*@""")
# Forms by which hubs and clouds make their tokens known.
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|pk-|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|nvapi-|gsk_|r8_|AKIA|AIza|ya29\.|dckr_pat_|tvly-)"
    r"[A-Za-z0-9_.-]{8,}"
    # Not what libraries call `hf_hub_download`.
    r"|(?<![A-Za-z0-9])hf_(?:oauth_|jwt_)?[A-Za-z0-9]{10,}"
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_.-]{12,}"
)
# Letters and digits without a pause, too long for a word; not a digest, which is no secret and tells which model it is.
_LONG = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{24,}")
_ONE_KIND = re.compile(r"[A-Za-z]+|[0-9]+")
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
_BEFORE_DIGEST = re.compile(r"""(?i)(?:sha256[-:]|[@/]|(?:revision|commit|digest|sha|sha256)[\s"':=,\\]+)\Z""")
_LONGEST_BEFORE_DIGEST = 24


def masked(words: t.Sequence[str]) -> str:
    """The words of a command line as one line, without the values that nobody else is to see."""
    shown = (word[:start] + MASK if start < len(word) else word for word, start in zip(words, secret_starts(words)))
    return masked_text(" ".join(shown))


def secret_starts(words: t.Sequence[str]) -> list[int]:
    """For each word of a command line the place from which on it is a secret by its name; its length where it is none."""
    starts = []
    named, several = False, False
    for word in words:
        name, equals, value = word.partition("=")
        option = _OPTION.fullmatch(word) is not None
        if named and not option:
            starts.append(0)
            named = several
            continue
        secret = _PLAIN_NAME.fullmatch(name) is not None and is_secret_name(name)
        starts.append(len(name) + 1 if equals and secret and value.lower() not in _NOTHING else len(word))
        named = word.startswith("-") and not equals and secret
        several = named and _SEVERAL.search(word) is not None
    return starts


def masked_text(text: str) -> str:
    """A text of any kind, such as a line of a log, without what is or looks like a secret."""
    text = _ADDRESS.sub(f"{MASK}@", text)
    text = _without_values(text)
    text = _SCHEME.sub(_masked_scheme, text)
    text = _KNOWN.sub(MASK, text)
    return _LONG.sub(lambda found: MASK if _is_random(found) else found.group(0), text)


def _without_values(text: str) -> str:
    done: list[str] = []
    shown, position = 0, 0
    # The same few names come again and again.
    is_secret = functools.lru_cache(maxsize=None)(is_secret_name)
    while True:
        found = _NAMED.search(text, position)
        if not found:
            return "".join((*done, text[shown:]))
        # A value that is shown can be a name itself.
        position = found.end()
        for start, end in _spans(text, found) if is_secret(found["name"]) else ():
            done += (text[shown:start], MASK)
            shown = position = end


def _spans(text: str, found: re.Match[str]) -> t.Iterator[tuple[int, int]]:
    """What is to be hidden of a secret's value or values; nothing where there are none."""
    start, position = found.start(), found.end()
    before = text[start - 1 : start]
    if found["mark"] is None and _NEXT_OPTION.match(text, position):
        return
    if found["close"] is None and found["mark"] and _is_not_meant(before, found["mark"], text[position : position + 1]):
        return
    while True:
        lead = _LEAD.match(text, position)
        start, end, after = _value(text, lead.end() if lead else position)
        cookies = _MORE_COOKIES.match(text, end) if end == after and _COOKIE.fullmatch(found["name"]) else None
        if cookies:
            end = after = cookies.end()
        if found["listed"] and _NAMES.match(text, after):
            return
        value = text[start:end]
        counted = _TOKENS.fullmatch(found["name"]) and _NUMBERS.fullmatch(value)
        if value.lower() not in _NOTHING and not counted:
            yield start, end
        more = _NEXT_ITEM.match(text, after) if lead and text.startswith("-", position) else None
        if not more:
            return
        # From its dash on, as a first one.
        position = text.index("-", after)


def _is_not_meant(before: str, mark: str, after: str) -> bool:
    """Whether it is a path in front of what is said of it, or the last word of a text in quotes (`"key="`)."""
    return (before == "/" and mark == ":") or (before in ('"', "'") and after == before)


def _value(text: str, position: int) -> tuple[int, int, int]:
    """Where a value begins and ends, and where it has ended with the quotes or brackets around it."""
    opened = _OPENED.match(text, position)
    if opened is None:
        end = _end_of_plain(text, position)
        return position, end, end
    if opened["quote"]:
        end, after = _end_of_quoted(text, opened.end(), len(opened["escapes"]), opened["quote"])
    else:
        end, after = _end_of_bracket(text, opened.end())
    rest = _end_of_plain(text, after)
    # `SecretStr("…")`, or a word that only looked as if it were in quotes: `"a"b`.
    if rest > after or (len(opened.group(0)) > 1 and not opened["quote"]):
        return position, rest, rest
    return opened.end(), end, after


def _end_of_plain(text: str, position: int) -> int:
    found = _END.search(text, position)
    return found.start() if found else len(text)


def _end_of_quoted(text: str, position: int, escapes: int, quote: str) -> tuple[int, int]:
    """Where the text in quotes ends, and where they are closed: by the first quote that is not escaped any deeper."""
    while True:
        found = _QUOTE.search(text, position)
        if not found:
            return len(text), len(text)
        within = _QUOTED_QUOTE.match(text, found.start()) if quote == "'" else None
        if found[2] == quote and len(found[1]) <= escapes and not within:
            return found.start(), found.end()
        position = (within or found).end()


def _end_of_bracket(text: str, position: int) -> tuple[int, int]:
    depth = 1
    while True:
        found = _BRACKET.search(text, position)
        if not found:
            return len(text), len(text)
        position = found.end()
        if found["quote"]:
            _end, position = _end_of_quoted(text, position, len(found["escapes"]), found["quote"])
        elif found["opened"]:
            depth += len(found["opened"])
        elif depth > len(found["closed"]):
            depth -= len(found["closed"])
        else:
            return found.start() + depth - 1, found.start() + depth


def _masked_scheme(found: re.Match[str]) -> str:
    bearer = found[1].lower() == "bearer"
    secret = not _WORD.fullmatch(found[3]) if bearer else _MIXED.match(found[3])
    return f"{found[1]}{found[2]}{MASK}" if secret else found[0]


def _is_random(found: re.Match[str]) -> bool:
    """Whether it is neither a long word, nor a long number, nor the digest of something."""
    word = found.group(0)
    if _ONE_KIND.fullmatch(word):
        return False
    start = found.start()
    before = found.string[max(0, start - _LONGEST_BEFORE_DIGEST) : start]
    return not (_HEXADECIMAL.fullmatch(word) and _BEFORE_DIGEST.search(before))
