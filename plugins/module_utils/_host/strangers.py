# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a runtime's way: somebody on its port, engines that nobody here started, what is left of its own."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import typing as t
from dataclasses import dataclass

from .._core.errors import LlmError
from .._core.masking import masked
from . import keeper
from .keeper import Entry
from .keeper_state import read_keeper_state
from .processes import holders, resident

LISTENER, ENGINE, ORPHAN, ZOMBIE = "listener", "engine", "orphan", "zombie"

# What a process runs, for telling only: nothing is ever ended for its name.
_PROGRAMS = {
    "ollama": "ollama",
    "ollama app": "ollama",
    "llama-server": "llama_cpp",
    "vllm": "vllm",
    "lm-studio": "lm_studio",
    "lm studio": "lm_studio",
    "llmster": "lm_studio",
    "model-runner": "docker_model_runner",
    "com.docker.llama-server": "docker_model_runner",
}
_MODULES = {"vllm": "vllm", "llama_cpp": "llama_cpp"}
# Programs whose first argument that is no option is the program meant.
_INTERPRETER = re.compile(r"(?:python[0-9.]*|bash|sh|node)")
_SERVICE = re.compile(r"/([^/]+\.service)(?=/|$)")
_USER_SERVICE = re.compile(r"/user@(\d+)\.service(/.*)?$")
_CONTAINER = re.compile(r"(?:docker|libpod|cri-containerd|crio|lxc|kubepods)[^/]*[-/.]([0-9a-f]{12,64})")
# Seconds for a question to systemd, and for a unit to stop besides the grace.
_ASK, _ACT = 10.0, 120.0


@dataclass(frozen=True)
class Stranger:
    """One process that is in the way. `ticks` is its start as the kernel counts, for telling it from a later one.

    `kind`: it listens on the port (`listener`), is an engine that no runtime here started (`engine`), is left of the
    runtime (`orphan`), or has ended and waits to be reaped by `parent` (`zombie`). `since` is in seconds since the
    epoch. `unit` is the systemd unit that it belongs to, of the account `unit_user` if that is a user's own.
    `container` is the first of the container's id. What the host does not tell without root is None or empty.
    """

    pid: int
    ticks: int
    kind: str
    engine: str | None
    owner: str
    command: str
    memory_bytes: int
    vram_bytes: int | None
    since: float
    parent: int
    unit: str | None
    unit_user: str | None
    container: str | None


@dataclass(frozen=True)
class Territory:
    """What is a runtime's own: its port, the processes of its supervisor, its unit, its keeper's state file.

    `host` is where it listens, empty for everywhere; `left` are those members that have outlived it.
    """

    port: int
    members: frozenset[int]
    unit: str
    state_path: str
    host: str = ""
    left: frozenset[int] = frozenset()


def find(
    territory: Territory, others: t.Collection[int] = (), vram: t.Mapping[int, int] | None = None
) -> list[Stranger]:
    """All that is in the way of a runtime, worst first; empty where there is no /proc.

    `others` are the members of this host's other runtimes, `vram` is GPU memory by process.
    """
    entries = keeper.table()
    vram = vram or {}
    kinds: dict[int, str] = {}
    for pid in holders(territory.port, ours=territory.members, pids=entries, host=territory.host):
        if pid is not None:
            kinds[pid] = LISTENER
    ours = {*territory.members, *others}
    keeping = _living_keeper(territory.state_path)
    left = keeper.marked(territory.state_path, entries) - territory.members - keeping
    # What a keeper that lives has not ended yet, it is about to.
    left |= set() if keeping else territory.left
    engines: dict[int, str] = {}
    for entry in entries.values():
        words = _words(entry)
        engine = engine_of(words or [entry.name])
        if engine:
            engines[entry.pid] = engine
        if entry.state == "Z":
            # With its group's leader ended, what held the memory is to be seen by the GPU's tool alone.
            if engine or entry.pid in vram or entry.session in territory.members:
                kinds.setdefault(entry.pid, ZOMBIE)
        elif entry.pid in left:
            kinds.setdefault(entry.pid, ORPHAN)
        elif words and entry.pid not in ours and (engine or entry.pid in vram):
            place = _place_of(entry.pid)
            if place.unit == territory.unit:
                kinds.setdefault(entry.pid, ORPHAN)
            elif engine and not _is_of_a_runtime(entry.pid, place):
                kinds.setdefault(entry.pid, ENGINE)
    # Our keepers' own processes are ours, as is whoever looks.
    for pid in keeper.ancestors(os.getpid(), entries):
        if kinds.get(pid) != LISTENER:
            kinds.pop(pid, None)
    order = (LISTENER, ORPHAN, ENGINE, ZOMBIE)
    found = [_told(entries[pid], kind, engines.get(pid), vram) for pid, kind in kinds.items() if pid in entries]
    return sorted(found, key=lambda each: (order.index(each.kind), each.pid))


def engine_of(words: t.Sequence[str]) -> str | None:
    """The engine that a command line is of, by what it runs; None for everything else."""
    words = list(words)
    if words and _INTERPRETER.fullmatch(words[0].rpartition("/")[2]):
        while len(words) > 1 and words[1].startswith("-") and words[1] != "-m":
            # `-c` and what it runs is no program's name.
            if words[1] in ("-c", "-e"):
                return None
            del words[1]
        if len(words) > 2 and words[1] == "-m":
            return _MODULES.get(words[2].partition(".")[0])
        words = words[1:]
    if not words:
        return None
    # Processes give themselves titles: `VLLM::EngineCore`, `ollama: worker`.
    name = words[0].partition(":")[0].rpartition("/")[2].lower()
    return _PROGRAMS.get(name)


def _living_keeper(state_path: str) -> set[int]:
    """It is no member, but not left over either."""
    state = read_keeper_state(state_path)
    return {state.keeper_pid} if state and state.keeper_lives else set()


def _words(entry: Entry) -> list[str]:
    # The kernel's own threads have none.
    if entry.parent == 2 or entry.state == "Z":
        return []
    text = keeper.read_proc(entry.pid, "cmdline").decode("utf-8", "replace")
    return text.rstrip("\0").split("\0") if text else []


def _is_of_a_runtime(pid: int, place: _Place) -> bool:
    """Whether another runtime of this host has it: it is looked after there."""
    if place.unit and place.unit.startswith("llm-") and not place.unit_user:
        return True
    return any(word.startswith(b"LLM_RUNTIME_STATE=") for word in keeper.read_proc(pid, "environ").split(b"\0"))


def _place_of(pid: int) -> _Place:
    return _Place.of(pid, _Place.of(os.getpid()).container)


class _Place(t.NamedTuple):
    """Where a process belongs, by its control groups (proc_pid_cgroup(5))."""

    unit: str | None
    unit_user: str | None
    container: str | None

    @classmethod
    def of(cls, pid: int, own: str | None = None) -> _Place:
        """`own` is the container that we are in ourselves."""
        paths = {
            line.split(":", 2)[2]
            for line in keeper.read_proc(pid, "cgroup").decode("utf-8", "replace").splitlines()
            if line.count(":") >= 2
        }
        found = cls(None, None, None)
        for path in sorted(paths, key=len, reverse=True):
            container = _CONTAINER.search(path)
            if container and container.group(1)[:12] != own:
                return cls(None, None, container.group(1)[:12])
            # Below our own container it is as on a host.
            below = path[container.end() :] if container else path
            of_user = _USER_SERVICE.search(below)
            units = _SERVICE.findall((of_user.group(2) or "") if of_user else below)
            if units and not found.unit:
                found = cls(units[-1], _account(int(of_user.group(1))) if of_user else None, None)
        return found


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _told(entry: Entry, kind: str, engine: str | None, vram: t.Mapping[int, int]) -> Stranger:
    place = _place_of(entry.pid)
    try:
        owner = _account(os.stat(f"/proc/{entry.pid}").st_uid)
    except OSError:
        owner = ""
    return Stranger(
        pid=entry.pid,
        ticks=entry.ticks,
        kind=kind,
        engine=engine,
        owner=owner,
        command=masked(_words(entry)) or entry.name,
        memory_bytes=resident(entry.pid),
        vram_bytes=vram.get(entry.pid),
        since=_boot_time() + entry.ticks / os.sysconf("SC_CLK_TCK"),
        parent=entry.parent,
        unit=place.unit,
        unit_user=place.unit_user,
        container=place.container,
    )


def _boot_time() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        return next((float(line.split()[1]) for line in file if line.startswith("btime ")), 0.0)


def evict(record: Stranger, grace: float, *, check_mode: bool = False) -> str:
    """End exactly the process that was told of, with all that belongs to it; returns what was done.

    With it go its descendants, or its whole session if it leads one: SIGTERM, `grace` seconds, SIGKILL. What systemd
    would start again is stopped by systemd, if it is its unit's main process. Raises `stop_failed`, with nothing
    done, for what cannot be ended so, and for pid 1, ourselves and what we descend from. In check mode nothing is ended.
    """
    entries = keeper.table()
    entry = entries.get(record.pid)
    if entry is None or entry.ticks != record.ticks:
        return f"process {record.pid} is gone already"
    if entry.state == "Z":
        raise _refusal(record, f"it has ended, and its parent {entry.parent} has to reap it")
    if record.container:
        raise _refusal(record, f"it runs in the container {record.container}; stop that")
    kept = keeper.ancestors(os.getpid(), entries) | {0, 1, 2}
    if record.pid in kept:
        raise _refusal(record, "this very task runs in it")
    warning = ""
    if record.unit:
        unit = _Unit.of(record.unit, record.unit_user)
        if unit.restart not in ("", "no") and unit.main in {record.pid, *keeper.ancestors(record.pid, entries)}:
            return _stop_unit(record, unit, grace, check_mode)
        # What left the unit's own processes, as what was started over ssh does, is nobody's to start again.
        warning = "" if unit.restart else f"; its unit {unit.name} could not be asked and may start it again"
    victims = _victims(entry, entries)
    if victims & kept:
        raise _refusal(record, "this very task runs in its session")
    if check_mode:
        return f"process {record.pid} of {record.owner} ({record.command}) would be ended"
    known = {pid: entries[pid].ticks for pid in victims}
    left = keeper.end(lambda: _descendants_of(record, known), grace, known)
    if left:
        raise _refusal(record, f"it does not end: {', '.join(map(str, sorted(left)))}")
    more = f" and {len(known) - 1} that belonged to it" if len(known) > 1 else ""
    return f"ended process {record.pid}{more}{warning}"


def _victims(entry: Entry, entries: t.Mapping[int, Entry]) -> set[int]:
    roots = {entry.pid}
    if entry.session == entry.pid:
        roots |= {each.pid for each in entries.values() if each.session == entry.pid}
    return keeper.with_descendants(roots, entries)


def _descendants_of(record: Stranger, known: t.Mapping[int, int]) -> dict[int, int]:
    """What it has begotten meanwhile, as far as those that begot it are still there."""
    entries = keeper.table()
    alive = {pid for pid, ticks in known.items() if pid in entries and entries[pid].ticks == ticks}
    found = keeper.with_descendants(alive, entries)
    if record.pid in alive:
        found |= _victims(entries[record.pid], entries)
    return {pid: entries[pid].ticks for pid in found - keeper.ancestors(os.getpid(), entries)}


class _Unit(t.NamedTuple):
    """A unit as its systemd tells of it; `restart` is empty where that cannot be asked."""

    name: str
    manager: tuple[str, ...]
    restart: str
    main: int

    @classmethod
    def of(cls, name: str, user: str | None) -> _Unit:
        manager: tuple[str, ...] = ()
        if user is not None:
            # A user's own systemd is reached by root through the host's.
            own = user == _account(os.geteuid()) and os.geteuid() != 0
            manager = ("--user",) if own else ("--user", f"--machine={user}@.host")
        told = _systemctl(*manager, "show", name, "--property=Restart,MainPID", timeout=_ASK)
        seen = dict(line.partition("=")[::2] for line in told.stdout.splitlines()) if told else {}
        return cls(name, manager, seen.get("Restart", ""), int(seen.get("MainPID") or 0))


def _stop_unit(record: Stranger, unit: _Unit, grace: float, check_mode: bool) -> str:
    if unit.main != record.pid:
        # A unit does more than one thing, as that of a container service does: it is not ours to say that all goes.
        raise _refusal(
            record, f"it belongs to {unit.name}, which is kept by systemd (Restart={unit.restart}); stop that unit"
        )
    if check_mode:
        return f"the unit {unit.name} would be stopped"
    done = _systemctl(*unit.manager, "stop", unit.name, timeout=grace + _ACT)
    if done is None or done.returncode or keeper.is_alive(record.pid, record.ticks):
        said = done.stderr.strip() if done else "no answer"
        raise _refusal(record, f"systemctl stop {unit.name} did not end it: {said}")
    return f"stopped the unit {unit.name} (Restart={unit.restart}); it is still enabled if it was"


def _systemctl(*words: str, timeout: float) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["systemctl", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _refusal(record: Stranger, why: str) -> LlmError:
    return LlmError("stop_failed", f"Process {record.pid} ({record.command}) of {record.owner} was not ended: {why}.")
