# SPDX-License-Identifier: GPL-3.0-or-later
"""What stand-ins for servers share: a listener whose end ends its connections too, and ways to answer a request."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class _TcpServer(ThreadingHTTPServer):
    request_queue_size = 128


class RefusedError(Exception):
    """An answer that is not the one that was asked for: a status with a text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class DroppedError(Exception):
    """The client's connection is to end here."""


def end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def go_json(document: t.Any) -> str:
    """JSON as Go writes it: without spaces, and safe inside HTML."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


class Listener:
    """A server on a TCP port or a unix socket, in a thread of its own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, socket_path: Path | None = None) -> None:
        self.host, self.port, self.socket_path = host, port, socket_path
        self.connections: set[socket.socket] = set()
        self._server: _UnixServer | _TcpServer | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def listen(self, handler: type[Connection]) -> int:
        """Start; the port stays 0 on a unix socket. A port that was found free is taken again after a stop."""

        class Bound(handler):  # type: ignore[valid-type, misc]
            listener = self
            disable_nagle_algorithm = self.socket_path is None

        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)
            self._server = _UnixServer(str(self.socket_path), Bound)
        else:
            self._server = _TcpServer((self.host, self.port), Bound)
            self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self.port

    def stop(self) -> None:
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in list(self.connections):
            end(connection)
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)


class Connection(BaseHTTPRequestHandler):
    """One connection of a listener, which the listener can end."""

    listener: Listener
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.listener.connections.add(self.connection)

    def finish(self) -> None:
        self.listener.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_arguments: t.Any) -> None:
        pass


class Answers(Connection):
    """`answer` is what a stand-in does with a request whose body was read."""

    body = b""

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.answer()
        except DroppedError:
            self.close_connection = True
            end(self.connection)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def answer(self) -> None:
        raise NotImplementedError

    def document(self, kind: type | None = None) -> t.Any:
        """The request's JSON; refused if it is none, or not of that kind."""
        try:
            document = json.loads(self.body)
        except ValueError:
            raise RefusedError(400, "invalid request") from None
        if kind is not None and not isinstance(document, kind):
            raise RefusedError(400, "invalid request")
        return document

    def json(self, status: int, document: t.Any) -> None:
        self.send(status, "application/json", go_json(document).encode() + b"\n")

    def plain(self, status: int, text: str) -> None:
        """An error as Go's http.Error writes it."""
        self.send(status, "text/plain; charset=utf-8", text.encode() + b"\n", {"X-Content-Type-Options": "nosniff"})

    def send(self, status: int, kind: str, data: bytes, headers: t.Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {}), "Content-Length": str(len(data))}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def begin(self, status: int, headers: t.Mapping[str, str]) -> None:
        """The head of an answer in chunks; an empty chunk is its end."""
        self.send_response(status)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, text: str = "") -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
