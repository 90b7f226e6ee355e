# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.collision import collides, concrete

# The listener's address, the runtime's host, whether they want the same port.
CASES = [
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "192.0.2.1", False),
    ("192.0.2.1", "127.0.0.1", False),
    ("127.0.0.1", "127.0.0.2", False),
    ("192.0.2.1", "::1", False),
    ("::1", "127.0.0.1", False),
    ("::1", "::1", True),
    ("::1", "[::1]", True),
    ("::1", "0:0:0:0:0:0:0:1", True),
    # An address of IPv4 behind a socket of IPv6.
    ("::ffff:127.0.0.1", "127.0.0.1", True),
    ("::ffff:127.0.0.1", "192.0.2.1", False),
    ("::ffff:0.0.0.0", "192.0.2.1", True),
    # Wildcards, of either side and either family.
    ("0.0.0.0", "127.0.0.1", True),
    ("0.0.0.0", "::1", True),
    ("::", "127.0.0.1", True),
    ("::", "2001:db8::1", True),
    ("127.0.0.1", "0.0.0.0", True),
    ("::1", "0.0.0.0", True),
    ("192.0.2.1", "::", True),
    ("192.0.2.1", "[::]", True),
    ("0.0.0.0", "::", True),
    # The zone of a link's own address is not in the kernel's table.
    ("fe80::1", "fe80::1%eth0", True),
    ("fe80::2", "fe80::1%eth0", False),
    # What cannot be told apart is matched by the number of its port.
    ("192.0.2.1", "localhost", True),
    ("192.0.2.1", "model-runner.example", True),
    ("192.0.2.1", "", True),
    ("192.0.2.1", "127.1", True),
    ("*", "127.0.0.1", True),
]


@pytest.mark.parametrize(("address", "host", "same"), CASES)
def test_who_wants_the_same_port(address: str, host: str, same: bool) -> None:
    assert collides(address, host) is same


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("0.0.0.0", None), ("::", None),
     ("localhost", None), ("", None)],
)  # fmt: skip
def test_the_one_address_of_a_host(host: str, address: str | None) -> None:
    assert concrete(host) == address
