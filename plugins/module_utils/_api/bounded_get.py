# SPDX-License-Identifier: GPL-3.0-or-later
"""One GET with an end: by TCP, TLS or Unix socket, with Python's own library, never through a proxy.

For looking at a host on which nothing may be installed yet and whatever listens may be anything.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass

from .._core.errors import LlmError
from .address import Address, parse_address
from .unix_socket import connected

# Bytes of an answer that are read. Lists of models are far below it.
LONGEST = 8 * 1024**2
_BLOCK = 65536


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def document(self) -> t.Any:
        """The parsed body; None where it is not JSON, or nested deeper than Python reads."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


def get(address: str, path: str, *, seconds: float) -> Answer:
    """What `address` (`http://…`, `https://…`, `unix:///path.sock#/prefix`) answers to `path`.

    `seconds` bound all of it but the look-up of a host's name. Raises `path_missing` (no such socket),
    `permission_denied`, `unreachable`, `timeout`, `tls_failed`, `invalid_input`, and `transfer_failed` where the
    answer breaks off or is no HTTP.
    """
    until = time.monotonic() + seconds
    place = parse_address(address)
    connection = http.client.HTTPConnection(place.host or "localhost", place.port or 80)
    try:
        plug = _plugged(place, until)
        with contextlib.closing(plug):
            connection.sock = _Ending(plug, until)
            connection.request("GET", f"{place.below}{path}", headers={"Accept": "*/*", "Connection": "close"})
            reply = connection.getresponse()
            return Answer(reply.status, _text(reply))
    except (OSError, http.client.HTTPException) as failure:
        raise _explained(failure, place.shown) from None
    except UnicodeError:
        raise LlmError("invalid_input", f"{place.shown} has a name or a path that cannot be asked for.") from None
    finally:
        connection.close()


class _Ending:
    """A connection that is over at `until`: each wait is for what is left, in headers as in the body.

    A time limit of a socket is for one wait alone, so a server that sends a byte a second would never reach it.
    """

    def __init__(self, plug: socket.socket, until: float) -> None:
        self._plug = plug
        self._until = until

    def sendall(self, data: bytes) -> None:
        self._plug.settimeout(_left(self._until))
        self._plug.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BufferedReader(_Arriving(self._plug, self._until), _BLOCK)

    def close(self) -> None:
        """Its reader still needs the connection: it is closed by whoever made it."""


class _Arriving(io.RawIOBase):
    def __init__(self, plug: socket.socket, until: float) -> None:
        self._plug = plug
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        self._plug.settimeout(_left(self._until))
        return self._plug.recv_into(buffer)


def _plugged(place: Address, until: float) -> socket.socket:
    """The connection, with TLS where the address wants it."""
    if place.socket:
        return connected(place.socket, _left(until))
    plug = _dialled(place, until)
    if place.scheme != "https":
        return plug
    try:
        plug.settimeout(_left(until))
        return ssl.create_default_context().wrap_socket(plug, server_hostname=place.host)
    except BaseException:
        plug.close()
        raise


def _dialled(place: Address, until: float) -> socket.socket:
    """A connection to the first of the host's addresses that takes one; a limit is for all of them together."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _name, where in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        try:
            plug = socket.socket(family, kind, protocol)
        except OSError as refused:
            failure = refused
            continue
        try:
            plug.settimeout(_left(until))
            plug.connect(where)
        except OSError as refused:
            plug.close()
            failure = refused
        else:
            return plug
    raise failure


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left


def _text(reply: http.client.HTTPResponse) -> str:
    parts: list[bytes] = []
    arrived = 0
    while arrived < LONGEST:
        block = reply.read1(_BLOCK)
        if not block:
            break
        parts.append(block)
        arrived += len(block)
    return b"".join(parts).decode("utf-8", "replace")


def _explained(failure: Exception, address: str) -> LlmError:
    if isinstance(failure, socket.timeout):
        return LlmError("timeout", f"{address} did not answer in time.")
    if isinstance(failure, FileNotFoundError):
        return LlmError("path_missing", f"{address} does not exist.")
    if isinstance(failure, PermissionError):
        return LlmError("permission_denied", f"{address}: access is denied.")
    if isinstance(failure, ssl.SSLCertVerificationError):
        return LlmError("tls_failed", f"{address}: its certificate could not be verified.")
    if isinstance(failure, ConnectionRefusedError):
        return LlmError("unreachable", f"Nothing listens at {address}.")
    # RemoteDisconnected is both a broken connection and bad HTTP: the port is open, and no answer came.
    if isinstance(failure, (http.client.HTTPException, ConnectionError, ssl.SSLError)):
        return LlmError("transfer_failed", f"{address} ended the connection without an HTTP answer.")
    return LlmError("unreachable", f"{address} could not be reached: {failure}.")
