# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.checksum import from_headers, from_list

SUM = hashlib.sha256(b"x").hexdigest()
OTHER = hashlib.sha256(b"y").hexdigest()
IN_BASE64 = base64.b64encode(bytes.fromhex(SUM)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{SUM}  a.gguf\n{OTHER}  b.gguf\n",
        f"{OTHER} *b.gguf\r\n{SUM} *./a.gguf\r\n",
        f"SHA256 (b.gguf) = {OTHER}\nSHA256 (a.gguf) = {SUM.upper()}\n",
        f"# sums of the release\n{SUM}  release/a.gguf",
        f"{SUM}\n",
    ],
)
def test_a_list_of_checksums(text: str) -> None:
    assert from_list(text, "a.gguf") == SUM


@pytest.mark.parametrize("text", ["", "404 page not found", f"{OTHER}  b.gguf", f"{SUM[:40]}  a.gguf", "<html></html>"])
def test_no_checksum_is_none(text: str) -> None:
    assert from_list(text, "a.gguf") is None


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Repr-Digest": f"sha-512=:AAAA:, sha-256=:{IN_BASE64}:"}, SUM),
        ({"digest": f"SHA-256={IN_BASE64}"}, SUM),
        ({"X-Linked-Etag": f'"{SUM}"'}, SUM),
        ({"ETag": f'"{SUM}"'}, None),
        ({"X-Linked-Etag": '"0123"'}, None),
        ({"Repr-Digest": "sha-256=:not base64:"}, None),
        ({"Repr-Digest": "sha-256=:AAAA:"}, None),
        ({}, None),
    ],
)
def test_what_a_server_says(headers: dict[str, str], found: str | None) -> None:
    assert from_headers(headers) == found
