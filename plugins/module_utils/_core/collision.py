# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two want the same port: by their addresses, not by the port's number alone."""

from __future__ import annotations

import ipaddress
import typing as t

# Where a program listens that takes a port on every address of the host.
EVERYWHERE = "0.0.0.0"
_Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def collides(address: str, host: str) -> bool:
    """Whether a socket that listens on `address` is in the way of a runtime on `host`, both on one port.

    A wildcard takes the port on every address: whether `::` leaves those of IPv4 alone is not to be seen. A name, as
    localhost, can stand for any address, and so does an empty text.
    """
    listener, wanted = _read(address), _read(host)
    if listener is None or wanted is None:
        return True
    return listener.is_unspecified or wanted.is_unspecified or listener == wanted


def concrete(host: str) -> str | None:
    """The one address that a host stands for; None for a wildcard and for a name."""
    address = _read(host)
    return None if address is None or address.is_unspecified else str(address)


def _read(text: str) -> _Address | None:
    # The kernel's table of sockets has no zones; brackets are of an address's place in a URL.
    number = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(number.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
