# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import connections
from ansible_collections.llmops.fleet.plugins.module_utils._host.connections import established, listeners, listening


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


@pytest.mark.parametrize("other", ["127.0.0.2", "::1"])
def test_two_addresses_of_one_port_are_two(other: str) -> None:
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = one.getsockname()[1]
        family = socket.AF_INET6 if ":" in other else socket.AF_INET
        two = stack.enter_context(socket.create_server((other, port), family=family))
        stack.enter_context(socket.create_connection((other, port)))
        mine, others = os.fstat(one.fileno()).st_ino, os.fstat(two.fileno()).st_ino
        for host in ("", "localhost", "0.0.0.0", "::"):
            assert listening(port, host) == {mine, others}
            assert established(port, host=host) == 1
        assert (listening(port, "127.0.0.1"), listening(port, other)) == ({mine}, {others})
        assert (established(port, host="127.0.0.1"), established(port, host=other)) == (0, 1)
        assert listening(port, "192.0.2.1") == set()
        assert {(each.address, each.inode) for each in listeners() if each.port == port} == {
            ("127.0.0.1", mine),
            (other, others),
        }


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_wildcard_is_on_every_address(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        for address in ("127.0.0.1", "192.0.2.1", "::1", "0.0.0.0", "::", "localhost", ""):
            assert listening(server.getsockname()[1], address) == {os.fstat(server.fileno()).st_ino}


def test_without_root_all_of_the_port_count() -> None:
    """What nobody may look into is taken for the runtime's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            program = (
                f"import os, sys; sys.path[:0] = sys.argv[1].split(':')\n"
                f"from {connections.__name__} import established\n"
                "import encodings.ascii  # The account that follows cannot read the interpreter's files.\n"
                f"os.setuid(65534)\nprint(established({port}, [{os.getpid()}]))"
            )
            words = [sys.executable, "-c", program, ":".join(sys.path)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_a_host_without_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLES", ("/nowhere",))
    assert listening(1) is None
    assert established(1) is None
    assert listeners() == set()
