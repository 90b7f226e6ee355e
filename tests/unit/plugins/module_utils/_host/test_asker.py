# SPDX-License-Identifier: GPL-3.0-or-later
"""A run whose reader goes away comes to an end by itself."""

from __future__ import annotations

import os
import threading

from ansible_collections.llmops.fleet.plugins.module_utils._host.asker import while_asked_for


def test_a_reader_that_goes_is_noticed() -> None:
    reader, writer = os.pipe()
    noticed = threading.Event()
    with while_asked_for(noticed.set, descriptor=writer):
        assert not noticed.wait(1.2)
        os.close(reader)
        assert noticed.wait(3)
    os.close(writer)


def test_a_file_has_no_reader_to_lose(tmp_path: object) -> None:
    noticed = threading.Event()
    descriptor = os.open(f"{tmp_path}/out", os.O_CREAT | os.O_WRONLY)
    with while_asked_for(noticed.set, descriptor=descriptor):
        assert not noticed.wait(0.8)
    os.close(descriptor)


def test_who_is_done_is_not_given_up() -> None:
    reader, writer = os.pipe()
    noticed = threading.Event()
    with while_asked_for(noticed.set, descriptor=writer):
        pass
    os.close(reader)
    assert not noticed.wait(1.2)
    os.close(writer)
