# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import connections
from ansible_collections.llmops.fleet.plugins.module_utils._host.connections import established, listening


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_are_counted(family: socket.AddressFamily, host: str) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(family))
        server.bind((host, 0))
        server.listen()
        port = server.getsockname()[1]
        assert len(listening(port) or ()) == 1
        assert established(port) == 0
        clients = [stack.enter_context(socket.create_connection((host, port))) for _client in range(3)]
        # Nobody has accepted them yet: they wait, and they count.
        assert (established(port), established(port, {os.getpid()})) == (3, 3)
        accepted = [stack.enter_context(server.accept()[0]) for _client in range(3)]
        assert (established(port), established(port, {os.getpid()})) == (3, 3)
        assert established(port, {os.getppid()}) == 0
        assert established(port, set()) == 0
        clients[0].close()
        accepted[0].close()
        assert established(port, {os.getpid()}) == 2


def test_without_root_all_of_the_port_count(tmp_path: Path) -> None:
    """What nobody may look into is taken for the runtime's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            program = Path(connections.__file__).read_text() + (
                "\nimport encodings.ascii  # The account that follows cannot read the interpreter's files.\n"
                f"os.setuid(65534)\nprint(established({port}, [{os.getpid()}]))"
            )
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_a_host_without_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLES", ("/nowhere",))
    assert listening(1) is None
    assert established(1) is None
