# SPDX-License-Identifier: GPL-3.0-or-later
"""One GET with an end: by TCP, TLS or Unix socket, with Python's own library, never through a proxy.

For looking at a host on which nothing may be installed yet and whatever listens may be anything.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from .._core.errors import LlmError

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
        """The parsed body; None where it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def get(address: str, path: str, *, seconds: float) -> Answer:
    """What `address` (`http://…`, `https://…`, `unix:///path.sock#/prefix`) answers to `path`.

    `seconds` bound all of it but the look-up of a host's name. Raises `path_missing` (no such socket),
    `permission_denied`, `unreachable`, `timeout`, `tls_failed`, `invalid_input`, and `transfer_failed` where the
    answer breaks off or is no HTTP.
    """
    until = time.monotonic() + seconds
    connection, below = _connection(address, seconds)
    try:
        connection.connect()
        plug = connection.sock
        connection.request("GET", f"{below}{path}", headers={"Accept": "*/*", "Connection": "close"})
        plug.settimeout(_left(until))
        reply = connection.getresponse()
        text = _text(reply, plug, until)
        return Answer(reply.status, text)
    except (OSError, http.client.HTTPException) as failure:
        raise _explained(failure, address) from None
    finally:
        connection.close()


class _SocketConnection(http.client.HTTPConnection):
    """HTTP to a socket of the file system."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def _connection(address: str, seconds: float) -> tuple[http.client.HTTPConnection, str]:
    """The connection, not yet made, and the path that all paths are below."""
    invalid = LlmError("invalid_input", f"'{address}' is no address: it begins with http://, https:// or unix:///.")
    if address.startswith("unix:///"):
        path, _hash, below = address[len("unix://") :].partition("#")
        return _SocketConnection(path, seconds), below
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid from None
    if not host or parts.scheme not in ("http", "https"):
        raise invalid
    below = parts.path.rstrip("/")
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=context), below
    return http.client.HTTPConnection(host, port, timeout=seconds), below


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left


def _text(reply: http.client.HTTPResponse, plug: socket.socket, until: float) -> str:
    """The body. The limit is set anew before each part: a server may send one byte a second."""
    parts: list[bytes] = []
    arrived = 0
    while arrived < LONGEST:
        plug.settimeout(_left(until))
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
