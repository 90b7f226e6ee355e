# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of programs: `http://host:port/below`, `https://…`, and `unix:///path/to.sock#/below` for a socket.

One reading for everything that asks, so that an address which one part tells is one that every other part takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .._core.errors import LlmError
from .http_client import shown

_PORTS = {"http": 80, "https": 443}
_SOCKET = "unix"
# Addresses that are paths: nobody logs in there, and an @ is part of a name.
_FILES = (_SOCKET, "npipe")
_SHOWN = 300
_FORM = "Give it as http://host:port, https://host:port or unix:///path/to.sock."


@dataclass(frozen=True)
class Address:
    """Where a program answers: `host` and `port`, or the path of a `socket`. All requests are below the path `below`."""

    scheme: str
    host: str
    port: int
    socket: str
    below: str
    shown: str


def parse_address(text: str, what: str = "") -> Address:
    """Read an address; `what` is the program it is of, for the message. Raises `invalid_input`."""
    place = shown_address(text)
    wrong = LlmError("invalid_input", f"{f'{what}: ' if what else ''}'{place}' is no address.", remedy=_FORM)
    if not text.isprintable():
        raise wrong
    if text.startswith(f"{_SOCKET}:///"):
        path, _hash, below = text[len(f"{_SOCKET}://") :].partition("#")
        below = below.rstrip("/")
        if path.endswith("/") or " " in below or (below and not below.startswith("/")):
            raise wrong
        return Address(_SOCKET, "", 0, path, below, place)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if " " in text or not host or parts.scheme not in _PORTS or port == 0 or parts.query or parts.fragment:
        raise wrong
    below = parts.path.rstrip("/")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], "", below, place.rstrip("/"))


def shown_address(text: str) -> str:
    """An address for a message or a fact: without credentials, whatever is wrong with it otherwise."""
    scheme, separator, rest = text.partition("://")
    if scheme in _FILES and rest.startswith("/"):
        return text[:_SHOWN]
    # What stands before the last @ may be a password, also where the rest is written wrongly.
    rest = rest.rpartition("@")[2]
    return shown(f"{scheme}://{rest}")[:_SHOWN] if separator else text.rpartition("@")[2][:_SHOWN]
