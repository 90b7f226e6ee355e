# SPDX-License-Identifier: GPL-3.0-or-later
"""How the Ollama stand-in speaks: bodies that come in, JSON and lines that go out, as Go's server writes them."""

from __future__ import annotations

import json
import re
import typing as t

from ollama_models import Progress, RefusedError, go_json
from stand_in import Connection, end

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
LINES = "application/x-ndjson"
# Go tells the length of a body up to this size and sends a longer one in chunks.
_BUFFER = 2048


class Exchange(Connection):
    """One connection; `route` is what a path means."""

    payload = b""
    lines_left: int | None = None
    begun = False

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def route(self, method: str) -> None:
        raise NotImplementedError

    def _handle(self, method: str) -> None:
        self.begun, self.lines_left = False, None
        self.payload = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.route(method)
        except RefusedError as error:
            self._refuse(error)
        except ConnectionError:
            self.close_connection = True

    def end_connection(self) -> None:
        self.close_connection = True
        end(self.connection)

    def _refuse(self, error: RefusedError) -> None:
        if self.begun:
            self.line({"error": str(error)})
            self.end_lines()
        elif self.path.startswith("/v1/"):
            kind = {404: "not_found_error", 400: "invalid_request_error"}.get(error.status, "api_error")
            document = {"error": {"message": str(error), "type": kind, "param": None, "code": None}}
            self.send(error.status or 500, PLAIN_JSON, go_json(document) + "\n")
        else:
            self.json({"error": str(error)}, error.status or 500)

    def body(self) -> dict[str, t.Any]:
        if not self.payload.strip():
            raise RefusedError("missing request body", 400)
        try:
            body: dict[str, t.Any] = json.loads(self.payload)
        except ValueError:
            after = re.fullmatch(rb"\s*\{\s*([^\"}]).*", self.payload, re.DOTALL)
            letter = (after[1] if after else self.payload.strip()[:1]).decode(errors="replace")
            place = "object key string" if after else "value"
            raise RefusedError(f"invalid character '{letter}' looking for beginning of {place}", 400) from None
        return body

    def send(self, status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {**({"Content-Type": kind} if kind else {}), **(headers or {})}.items():
            self.send_header(name, value)
        chunked = len(data) > _BUFFER
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(data)))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if chunked else data)

    def json(self, document: t.Any, status: int = 200, kind: str = JSON) -> None:
        self.send(status, kind, go_json(document))

    def begin_lines(self, status: int = 200, kind: str = LINES) -> None:
        self.begun = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def text_line(self, text: str) -> None:
        if self.lines_left == 0:
            self.end_connection()
            raise ConnectionResetError
        self.lines_left = None if self.lines_left is None else self.lines_left - 1
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def line(self, document: t.Any) -> None:
        if not self.begun:
            self.begin_lines()
        self.text_line(go_json(document) + "\n")

    def end_lines(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def stream(self, body: dict[str, t.Any], work: t.Callable[[Progress], t.Any]) -> None:
        """Work that tells its progress: as lines, or only its end when no stream is wanted."""
        if body.get("stream") is False:
            try:
                work(lambda _document: None)
            except RefusedError as error:
                self.json({"error": str(error)}, error.status or 500, PLAIN_JSON)
            else:
                self.json({"status": "success"}, 200, PLAIN_JSON)
            return
        try:
            work(self.line)
        except RefusedError as error:
            if not self.begun:
                self.begin_lines(error.status or 200, PLAIN_JSON if error.status else LINES)
                self.text_line(go_json({"error": str(error)}))
                self.end_lines()
                return
            raise
        self.end_lines()
