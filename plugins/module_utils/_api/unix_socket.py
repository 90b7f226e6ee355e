# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over a Unix socket: an adapter for `requests` that connects to a file instead of a host and port."""

from __future__ import annotations

import socket
import typing as t

from .._core.errors import LlmError
from .http_client import _library

if t.TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

SCHEME = "unix://"


def socket_path(address: str) -> str:
    """The path in `unix:///path/to.sock`; raises `invalid_input` for one that is not absolute."""
    path = address[len(SCHEME) :]
    if not address.startswith(SCHEME) or not path.startswith("/"):
        raise LlmError("invalid_input", f"'{address}' is no address of a socket: it has the form unix:///path/to.sock.")
    return path


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
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # Beside seconds and None it may be urllib3's mark for "not given".
            made.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
            try:
                made.connect(path)
            except socket.timeout as cause:
                made.close()
                raise ConnectTimeoutError(self, f"Connection to {path} timed out.") from cause
            except OSError as cause:
                made.close()
                raise NewConnectionError(self, f"Failed to establish a new connection: {cause}") from cause
            return made

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
