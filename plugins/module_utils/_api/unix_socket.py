# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a Unix socket, and an adapter for `requests` that uses one instead of a host and port."""

from __future__ import annotations

import socket
import typing as t

from .http_client import _library

if t.TYPE_CHECKING:
    from requests.adapters import HTTPAdapter


def connected(path: str, seconds: float | None) -> socket.socket:
    """A connection to the socket at `path`; raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(seconds)
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def unix_socket_adapter(path: str) -> HTTPAdapter:
    """An adapter that sends every request of its session to the socket at `path`, whatever host the URL names.

    It is mounted at `http://`; the URL's host is then only what the Host header says. The classes are made here and
    not at the top because `requests` may be missing. Raises `library_missing`.
    """
    _library()
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    class SocketConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            # Beside seconds and None it may be urllib3's mark for "not given".
            seconds = self.timeout if isinstance(self.timeout, (int, float)) else None
            try:
                return connected(path, seconds)
            except socket.timeout as cause:
                raise ConnectTimeoutError(self, f"Connection to {path} timed out.") from cause
            except OSError as cause:
                raise NewConnectionError(self, f"Failed to establish a new connection: {cause}") from cause

    class SocketPool(HTTPConnectionPool):
        ConnectionCls = SocketConnection

    class UnixSocketAdapter(HTTPAdapter):
        def __init__(self) -> None:
            super().__init__()
            self._pool = SocketPool("localhost", maxsize=1)

        def get_connection_with_tls_context(self, *_arguments: t.Any, **_named: t.Any) -> HTTPConnectionPool:
            return self._pool

        def get_connection(self, *_arguments: t.Any, **_named: t.Any) -> HTTPConnectionPool:
            # What `requests` before 2.32.2 calls.
            return self._pool

        def close(self) -> None:
            self._pool.close()
            super().close()

    return UnixSocketAdapter()
