# SPDX-License-Identifier: GPL-3.0-or-later
"""One GET ends in its time, whatever drips."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.bounded_get import get
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from stand_in import Connection, Listener


class Dripping(Listener):
    """Sends `head` at once and then a byte every tenth of a second."""

    def __init__(self, head: bytes, socket_path: Path | None) -> None:
        super().__init__(socket_path=socket_path)
        self.head = head

    def __enter__(self) -> Dripping:
        self.listen(_Drip)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


class _Drip(Connection):
    listener: Dripping

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.recv(65536)
            self.connection.sendall(self.listener.head)
            for _byte in range(100):
                self.connection.sendall(b"1")
                time.sleep(0.1)


@pytest.mark.parametrize("by", ["tcp", "socket"])
@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["status", "header", "body", "chunk"],
)  # fmt: skip
def test_a_server_that_drips(tmp_path: Path, head: bytes, by: str) -> None:
    path = tmp_path / "s" if by == "socket" else None
    with Dripping(head, path) as server:
        began = time.monotonic()
        with pytest.raises(LlmError) as caught:
            get(f"unix://{path}#/below" if path else server.url, "/", seconds=0.5)
        assert time.monotonic() - began < 0.8
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize("address", ["http://a..b:1", f"http://{'a' * 70}.example:1", "http://127.0.0.1:1/ä", "banana"])
def test_what_no_host_can_be_called(address: str) -> None:
    with pytest.raises(LlmError) as caught:
        get(address, "/", seconds=5)
    assert caught.value.reason in ("invalid_input", "unreachable")


def test_credentials_are_shown_nowhere() -> None:
    for address in ("http://bob:s3cret@127.0.0.1:1", "http://bob:s3cret@127.0.0.1:99999", "bob:s3cret@x"):
        with pytest.raises(LlmError) as caught:
            get(address, "/", seconds=5)
        assert "s3cret" not in f"{caught.value}{t.cast('t.Any', caught.value).details}"
