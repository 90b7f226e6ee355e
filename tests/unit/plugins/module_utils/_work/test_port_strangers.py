# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a runtime's way, and who is taken over, by the address where they listen."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.runtime import complete
from ansible_collections.llmops.fleet.plugins.module_utils._host.ownership import Owner
from ansible_collections.llmops.fleet.plugins.module_utils._host.store import Store
from ansible_collections.llmops.fleet.plugins.module_utils._work.port_strangers import adopted, clear_the_port
from ansible_collections.llmops.fleet.plugins.module_utils._work.runtime_subject import Subject, subject_of

ASKED: dict[str, t.Any] = {"engine": "ollama", "engine_version": "1", "supervisor": "process", "on_stranger": "adopt"}
# Where the other one listens, where the runtime is to listen, whether that is one place.
PLACES = [
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", None, True),
    ("127.0.0.2", None, False),
    ("127.0.0.1", "127.0.0.2", False),
    ("127.0.0.2", "0.0.0.0", True),
    ("0.0.0.0", "127.0.0.1", True),
    ("127.0.0.2", "localhost", True),
]


def subject(tmp_path: Path, **asked: t.Any) -> Subject:
    layout = layout_for(root=True, user="x", home="/", run_home=None, prefix=str(tmp_path))
    return subject_of("chat", {**ASKED, **asked}, layout, Store(str(tmp_path / "store"), Owner()))


@contextlib.contextmanager
def listening(address: str, port: int) -> t.Iterator[int]:
    """A process of its own, because none is ended that a task runs in; gives its number."""
    code = f"import socket, sys; s = socket.create_server(({address!r}, {port})); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize(("address", "host", "same"), PLACES)
def test_who_is_taken_over(tmp_path: Path, free_port: int, address: str, host: str | None, same: bool) -> None:
    with listening(address, free_port) as pid:
        found = adopted(subject(tmp_path, port=free_port, host=host))
        assert found.place.supervisor.name == ("external" if same else "process")
        assert found.place.supervisor.process("chat").pid == (pid if same else None)


@pytest.mark.parametrize(("address", "host", "same"), PLACES)
def test_who_is_in_the_way(tmp_path: Path, free_port: int, address: str, host: str | None, same: bool) -> None:
    made = subject(tmp_path, port=free_port, host=host)
    spec = complete("chat", made.params, None, 1, resident=True)
    with listening(address, free_port) as pid:
        if not same:
            assert clear_the_port(spec, made.place, "evict", check_mode=True) == []
            return
        with pytest.raises(LlmError, match=f"held by process {pid} of"):
            clear_the_port(spec, made.place, "fail", check_mode=True)
        (told,) = clear_the_port(spec, made.place, "evict", check_mode=True)
        assert told.startswith(f"process {pid} of ")


def test_a_program_that_listens_everywhere_needs_every_address(tmp_path: Path, free_port: int) -> None:
    asked = {"engine": "docker_model_runner", "port": free_port}
    for supervisor, address in (("process", "0.0.0.0"), ("external", "127.0.0.1")):
        made = subject(tmp_path, **asked, supervisor=supervisor)
        assert made.place.listens_on(made.engine(), "127.0.0.1") == address
    made = subject(tmp_path, **asked)
    with socket.create_server(("127.0.0.2", free_port)), pytest.raises(LlmError, match="is held by"):
        clear_the_port(complete("chat", made.params, None, 1, resident=True), made.place, "fail", check_mode=True)
