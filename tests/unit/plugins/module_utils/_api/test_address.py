# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._api.address import parse_address, shown_address
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://127.0.0.1:12434", ("http", "127.0.0.1", 12434, "", "")),
        ("http://localhost/below/", ("http", "localhost", 80, "", "/below")),
        ("https://[::1]", ("https", "::1", 443, "", "")),
        ("https://me:pw@host:1/a", ("https", "host", 1, "", "/a")),
        ("unix:///run/d.sock", ("unix", "", 0, "/run/d.sock", "")),
        ("unix:///a b/docker.sock#/exp/vDD4.40", ("unix", "", 0, "/a b/docker.sock", "/exp/vDD4.40")),
    ],
)
def test_addresses(text: str, parts: tuple[str, str, int, str, str]) -> None:
    found = parse_address(text)
    assert (found.scheme, found.host, found.port, found.socket, found.below) == parts
    assert "pw" not in found.shown
    # What is shown is an address again, of the same place.
    again = parse_address(found.shown)
    assert (again.host, again.port, again.socket, again.below) == parts[1:]


@given(st.text(max_size=30) | st.from_regex(r"(http|unix|x)://[^\n]{0,20}", fullmatch=True))
def test_anything_is_an_address_or_refused(text: str) -> None:
    reason = "invalid_input"
    try:
        parse_address(text)
    except LlmError as failure:
        reason = failure.reason
    assert reason == "invalid_input"


@given(
    st.sampled_from(["http://", "https://", "ftp://", "", "unix://", "x"]),
    st.sampled_from(["", "/", ":1/a?b", "[", "#/x"]),
)
def test_no_password_is_shown(scheme: str, rest: str) -> None:
    assert "s3cret" not in shown_address(f"{scheme}bob:s3cret@host{rest}")
