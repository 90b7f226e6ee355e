# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a diagnosis that are of one runtime: each looks at one thing and raises where it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import typing as t
from pathlib import Path

from .._core.diagnosis_summary import ODD_STATES, Answer, size
from .._core.errors import LlmError
from .._core.generation import ACTIVE, Generation
from .._core.journal import parse, transactions
from .._core.layout import Layout, unit_name
from .._core.masking import MASK, masked
from .._core.status import judge, record
from .._core.supervisor import Process, Supervisor
from .._engines.registry import engine_named
from .._host import keeper, processes
from .._host.durable import read_link, read_text
from .._host.gpu_look import GpuLook
from .._host.keeper_state import KeeperState, read_keeper_state
from .._host.supervisors import choose
from .._host.systemd import CGROUP_ROOTS
from .ask_engine import PATIENCE
from .asked import GRACE, said_by
from .runtime_place import place_of, settings_of

Question = t.Callable[[], t.Any]
_SHOWN_TRANSACTIONS = 5
# Bytes of a log file's end that are read.
_LOG_BYTES = 512 * 1024
_PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "ExecMainStatus", "ExecMainCode",
               "MainPID", "NRestarts", "ActiveEnterTimestamp", "InactiveEnterTimestamp", "MemoryCurrent", "MemoryMax",
               "TasksCurrent", "NeedDaemonReload", "DropInPaths")  # fmt: skip
_UNLIMITED = 1 << 60
_RESOURCES = ("Max locked memory", "Max address space", "Max core file size", "Max open files")


class RuntimeParts:
    """`lines` of its log are told; what takes tools is given up at `deadline` (monotonic seconds).

    `gpus` is what the GPU tools tell to all parts of the diagnosis.
    """

    def __init__(self, name: str, layout: Layout, *, lines: int, deadline: float, gpus: GpuLook) -> None:
        self.name = name
        self._layout = layout
        self._lines = lines
        self._gpus = gpus
        # So that what a tool did not do is still told.
        self._until = deadline - 2 * GRACE - 0.1

    def questions(self, process: t.Callable[[], Answer], vram: t.Callable[[], Answer]) -> dict[str, Question]:
        return {
            "status": self.status,
            "transactions": self.transactions,
            "generations": self.generations,
            "processes": lambda: self.processes(_value(process()), vram().value or {}),
            "limits": lambda: limits_of(_value(process())),
            "service": self.service,
            "log": self.log,
        }

    def process(self) -> Process:
        return self._supervisor().process(self.name)

    def listens_on(self) -> tuple[str, int] | None:
        """Its host and its port; None for one that never served."""
        serving = self._serving()
        if serving is None:
            return None
        host, port = str(serving.spec["host"]), int(serving.spec["port"])
        # Of an engine or a supervisor that is not there any more, what was asked for is known all the same.
        with contextlib.suppress(LlmError):
            host = place_of(serving, self._layout).listens_on(engine_named(serving.engine), host)
        return host, port

    def status(self) -> dict[str, t.Any] | None:
        """The record that `llm_runtime_info` has; None for one that never served."""
        generation = self._serving()
        if generation is None:
            return None
        place = place_of(generation, self._layout)
        engine = engine_named(generation.engine)
        port = int(generation.spec["port"])
        seen = place.observe(generation, engine, settings_of(generation), port, self._gpus, PATIENCE)
        return record(self.name, seen, judge(seen))

    def transactions(self) -> dict[str, t.Any]:
        """The newest first."""
        text = read_text(Path(self._layout.runtime_folder(self.name)) / "journal.jsonl") or ""
        entries = parse(text)
        found = transactions(entries)[::-1][:_SHOWN_TRANSACTIONS]
        written = sum(1 for line in text.splitlines() if line.strip())
        told = [{"number": each.number, **each.as_dict()} for each in found]
        return {"transactions": told, "unreadable": written - len(entries)}

    def generations(self) -> dict[str, t.Any]:
        found, unreadable = self._records()
        serving = self._serving()
        records = [
            {
                "number": each.number,
                "time": each.time,
                "status": each.status,
                "serving": serving is not None and each.number == serving.number,
                "model": f"{each.model.name} {each.model.revision[:12]}".strip(),
                "engine": f"{each.engine} {each.engine_version}".strip(),
                "restores": each.restores,
                "reason": each.reason,
            }
            for each in found
        ]
        return {"records": records, "unreadable": unreadable}

    def processes(self, process: Process, vram: t.Mapping[int, int]) -> list[dict[str, t.Any]]:
        """The tree, parents before their children; those that have ended and were not reaped are in it."""
        entries = keeper.table()
        if not entries:
            raise LlmError("unsupported", "this host has no /proc")
        state = self._keeper_state()
        roots = {*process.members, *((state.keeper_pid,) if state and state.keeper_lives else ())}
        known = keeper.with_descendants(roots, entries)
        children: dict[int, list[int]] = {}
        for pid in sorted(known):
            parent = entries[pid].parent
            children.setdefault(parent if parent in known else 0, []).append(pid)
        found = []
        open_ends = [(pid, 0) for pid in reversed(children.get(0, []))]
        while open_ends:
            pid, depth = open_ends.pop()
            found.append({"depth": depth, **_told(entries[pid], vram.get(pid))})
            open_ends += [(child, depth + 1) for child in reversed(children.get(pid, []))]
        return found

    def service(self) -> dict[str, t.Any]:
        """The unit or the keeper as it is and as it is defined, and the names of the runtime's secrets."""
        supervisor = self._supervisor()
        if supervisor.name == "systemd":
            state, files = self._unit()
        else:
            state, files = self._keeper(supervisor)
        environment = read_text(Path(self._layout.environment_file(self.name)))
        if environment is not None:
            files.append((self._layout.environment_file(self.name), environment.splitlines()))
        secrets = read_text(Path(self._layout.secrets_file(self.name)))
        if secrets is not None:
            hidden = [f"{name}={MASK}" for name in parse_names(secrets)]
            files.append((self._layout.secrets_file(self.name), hidden))
        link = self._layout.engine_link(self.name)
        state.append(("engine folder", read_link(Path(link)) or "-"))
        return {"state": state, "files": files}

    def log(self) -> list[dict[str, t.Any]]:
        """The journal, the log file, or both, each as far as it is there."""
        found = []
        supervisor = self._supervisor()
        if supervisor.name == "systemd":
            words = ["--unit", unit_name(self.name), "--lines", str(self._lines), "--output", "short-iso"]
            text = said_by("journalctl", "--quiet", "--no-pager", *words, until=self._until)
            found.append({"source": f"journal of {unit_name(self.name)}", "lines": text.splitlines()})
        path = Path(self._layout.log_file(self.name))
        if path.exists() or supervisor.name == "process":
            found.append({"source": str(path), "lines": _tail(path, self._lines)})
        return found

    def _unit(self) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
        unit = unit_name(self.name)
        told = said_by("systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}", until=self._until)
        seen = dict(line.partition("=")[::2] for line in told.splitlines())
        state = [("unit", unit)] + [(name, _figure(name, seen[name])) for name in _PROPERTIES if seen.get(name)]
        paths = [self._layout.unit_file(self.name), *seen.get("DropInPaths", "").split()]
        return state, [(path, _definition(Path(path))) for path in paths]

    def _keeper(self, supervisor: Supervisor) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
        state = [("supervisor", supervisor.name)]
        path = Path(supervisor.definition_path(self.name))
        if supervisor.name == "external":
            return [*state, ("note", "somebody else runs it; it is watched, never started or ended")], []
        seen = self._keeper_state()
        if seen is None:
            state.append(("keeper", "does not run"))
        else:
            state.append(("keeper", f"process {seen.keeper_pid}{'' if seen.keeper_lives else ', which is gone'}"))
            state.append(("engine", f"process {seen.pid}" if seen.pid else "does not run"))
            state.append(("restarts", str(seen.restarts)))
            state.append(("ended with", seen.detail or "-"))
        text = read_text(path)
        return state, [(str(path), _keeper_definition(text) if text is not None else ["it is not there"])]

    def _keeper_state(self) -> KeeperState | None:
        return read_keeper_state(self._layout.pid_file(self.name))

    def _supervisor(self) -> Supervisor:
        serving = self._serving()
        if serving is None:
            return choose("auto", self._layout)
        return place_of(serving, self._layout).supervisor

    def _serving(self) -> Generation | None:
        """The generation that serves, as far as its record can be read."""
        return next((each for each in self._records()[0] if each.status == ACTIVE), None)

    def _records(self) -> tuple[list[Generation], list[str]]:
        """What can be read, newest first, and the names of the files that cannot."""
        found, unreadable = [], []
        folder = Path(self._layout.runtime_folder(self.name)) / "generations"
        for path in folder.glob("*.json") if folder.is_dir() else ():
            try:
                found.append(Generation.from_dict(json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                unreadable.append(path.name)
        return sorted(found, key=lambda generation: -generation.number), sorted(unreadable)


def _value(answer: Answer) -> Process:
    if answer.error:
        raise LlmError("supervisor_failed", f"its supervisor does not tell of it: {answer.error}")
    process: Process = answer.value
    return process


def parse_names(text: str) -> list[str]:
    return sorted(keeper.parse_environment(text))


def _told(entry: keeper.Entry, vram: int | None) -> dict[str, t.Any]:
    text = keeper.read_proc(entry.pid, "cmdline").decode("utf-8", "replace").rstrip("\0")
    status = keeper.read_proc(entry.pid, "status").decode("utf-8", "replace")
    threads = next((line.split()[1] for line in status.splitlines() if line.startswith("Threads:")), None)
    return {
        "pid": entry.pid,
        "state": ODD_STATES.get(entry.state, entry.state),
        "memory_bytes": processes.resident(entry.pid),
        "vram_bytes": vram,
        "threads": threads,
        "since": processes.started_at(entry.pid),
        "command": masked(text.split("\0")) if text else f"[{entry.name}]",
    }


def _figure(name: str, value: str) -> str:
    return size(int(value)) if name.startswith("Memory") and value.isdigit() and int(value) < _UNLIMITED else value


def _definition(path: Path) -> list[str]:
    """A unit's lines; a command is one line of masked words, as an option and its value belong together."""
    text = read_text(path)
    if text is None:
        return ["it is not there"]
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        name, equals, words = line.partition("=")
        lines.append(f"{name}={_command(words)}" if equals and name.startswith("Exec") else line)
    return lines


def _command(text: str) -> str:
    try:
        return masked(shlex.split(text))
    except ValueError:
        return MASK


def _keeper_definition(text: str) -> list[str]:
    try:
        document = dict(json.loads(text))
        words = [str(word) for word in document.pop("command")]
    except (ValueError, KeyError, TypeError):
        return ["! it cannot be read as a definition"]
    return [f"command: {masked(words)}"] + [f"{name}: {value}" for name, value in sorted(document.items())]


def _tail(path: Path, count: int) -> list[str]:
    """The last lines; those of the file before it, where a new one was just begun."""
    found: list[str] = []
    for each in (path, path.with_name(f"{path.name}.1")):
        try:
            with each.open("rb") as file:
                end = os.fstat(file.fileno()).st_size
                file.seek(max(0, end - _LOG_BYTES))
                lines = file.read(_LOG_BYTES).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            continue
        # A first line whose beginning is missing might end in half of a secret.
        found = [*(lines[1:] if end > _LOG_BYTES else lines), *found]
        if len(found) >= count:
            break
    return found[-count:] if count else []


def limits_of(process: Process) -> list[tuple[str, str]]:
    """What bounds the memory of a process: its control group with those above it, and its resource limits."""
    if not process.pid:
        return []
    found = []
    for line in keeper.read_proc(process.pid, "cgroup").decode("utf-8", "replace").splitlines():
        _number, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            found += _limits_of_group(controllers, group)
    for line in keeper.read_proc(process.pid, "limits").decode("utf-8", "replace").splitlines():
        name = next((name for name in _RESOURCES if line.startswith(name)), None)
        if name:
            soft, hard, *unit = line[len(name) :].split()
            words = [soft, *(unit if soft != "unlimited" else []), *([f"(at most {hard})"] if hard != soft else [])]
            found.append((name.replace("Max", "max"), " ".join(words)))
    score = keeper.read_proc(process.pid, "oom_score_adj").decode().strip()
    return [*found, ("oom_score_adj", score or "-")]


def _limits_of_group(controllers: str, group: str) -> list[tuple[str, str]]:
    names = ("memory.limit_in_bytes", "memory.failcnt", "memory.usage_in_bytes") if controllers else (
        "memory.max", "memory.high", "memory.swap.max", "memory.current", "memory.events")  # fmt: skip
    roots = ["/sys/fs/cgroup/memory"] if controllers else list(CGROUP_ROOTS[:2])
    found = []
    path = group.rstrip("/")
    while True:
        here = [
            (f"{path or '/'} {name}", value)
            for root in roots
            for name in names
            for value in (_bound(name, read_text(Path(f"{root}{path}/{name}")) or ""),)
            if value
        ]
        # How much a group above uses matters where it is bounded.
        found += here if path == group.rstrip("/") or len(here) > 1 else []
        if not path:
            return found
        path = path.rpartition("/")[0]


def _bound(name: str, text: str) -> str:
    """What a file of a control group says; empty where it bounds nothing and counted nothing."""
    if name == "memory.events":
        return ", ".join(line for line in text.splitlines() if not line.endswith(" 0"))
    value = text.strip()
    if not value.isdigit() or int(value) >= _UNLIMITED or (name.endswith("failcnt") and value == "0"):
        return ""
    return value if name.endswith("failcnt") else size(int(value))
