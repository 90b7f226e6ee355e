# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a diagnosis that are of the whole host: each looks at one thing and raises where it cannot."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import pwd
import re
import shutil
import sys
import time
import typing as t
from pathlib import Path

from .._core.clock import written
from .._core.collision import collides
from .._core.diagnosis_summary import Answer, duration
from .._core.layout import Layout, unit_name
from .._core.model import GB
from .._core.operation import SHOWN
from .._core.supervisor import Process
from .._engines.registry import ENGINES
from .._host import gpu, keeper, processes, strangers
from .._host.connections import established, held, listeners
from .._host.durable import read_link, read_text
from .._host.gpu_look import GpuLook
from .._host.operations import Operations
from .._host.ownership import Owner
from .._host.place import has_systemd
from .._host.store import Store
from .diagnose_runtime import Question, RuntimeParts

_GPU_TOOLS = ("nvidia-smi", "rocm-smi")
_DEVICES = ("nvidia0", "nvidiactl", "kfd", "dri")
_KILLED = re.compile(r"(?:Out of memory|Memory cgroup out of memory): Killed process|invoked oom-killer")
# Of the kernel's log: bytes of one record, records that are looked at, and those that are told.
_RECORD, _RECORDS, _EVENTS = 8192, 50_000, 5


class HostParts:
    """`members` tells of the runtimes' processes, `vram` of GPU memory by process; both may take their time."""

    def __init__(
        self,
        layout: Layout,
        params: t.Mapping[str, t.Any],
        runtimes: t.Mapping[str, RuntimeParts],
        members: t.Callable[[], t.Mapping[str, Process]],
        vram: t.Callable[[], Answer],
        gpus: GpuLook,
    ) -> None:
        self._layout = layout
        self._params = params
        self._runtimes = runtimes
        self._members = members
        self._vram = vram
        self._gpus = gpus
        self._store = Store(params.get("store") or layout.store, Owner())

    def questions(self) -> dict[str, Question]:
        return {
            "strangers": self.strangers,
            "ports": self.ports,
            "memory": memory,
            "oom": killed_for_memory,
            "gpu": self.gpu,
            "disk": self.disk,
            "models": self.models,
            "operations": self.operations,
            "versions": self.versions,
        }

    def strangers(self) -> list[dict[str, t.Any]]:
        """Who is in the way of any runtime, and engines that none of them has; each once, worst first."""
        members = self._members()
        vram = self._vram().value or {}
        ours = {pid for process in members.values() for pid in process.members}
        found: dict[int, strangers.Stranger] = {}
        for name, process in members.items():
            host, port = self._runtimes[name].listens_on() or ("", 0)
            unit, state = unit_name(name), self._layout.pid_file(name)
            territory = strangers.Territory(port, process.members, unit, state, host, process.left)
            for each in strangers.find(territory, ours - process.members, vram):
                if each.kind != strangers.ENGINE:
                    found.setdefault(each.pid, each)
        for each in strangers.find(strangers.Territory(0, frozenset(ours), "", "/nonexistent"), ours, vram):
            found.setdefault(each.pid, each)
        return [_told(each) for each in found.values()]

    def ports(self) -> list[dict[str, t.Any]]:
        """Who listens on the runtimes' ports and on the engines' usual ones, and where runtimes' processes do."""
        sockets = listeners()
        members = self._members()
        places = {name: part.listens_on() for name, part in self._runtimes.items()}
        wanted = {name: place for name, place in places.items() if place}
        usual = {engine.default_port: name for name, engine in sorted(ENGINES.items())}
        inodes = {inode for _address, _port, inode in sockets}
        ours = {pid: name for name, process in members.items() for pid in process.members}
        holders = {**held(keeper.pids(), inodes).by, **held(ours, inodes).by}
        found: list[dict[str, t.Any]] = []
        for address, port, inode in sorted(sockets):
            pid = holders.get(inode)
            owner = ours.get(pid) if pid else None
            claims = [name for name, place in wanted.items() if _is_at(place, address, port)]
            meant = owner if owner in claims else next(iter(claims), None)
            if owner is None and meant is None and port not in usual:
                continue
            if owner and meant in (owner, None):
                whose = owner if meant else f"{owner} (another port than its own)"
            elif meant:
                whose = f"! the port of {meant}, held by {owner or 'somebody else'}"
            else:
                whose = f"nobody here; usual for {usual[port]}"
            who = f"{pid} {processes.command_of(pid) or ''}".strip() if pid else "a process of another account"
            clients = established(port, host=address)
            found.append({"port": port, "address": address, "who": who, "clients": clients, "whose": whose})
        silent = {name: place[1] for name, place in wanted.items()
                  if not any(_is_at(place, row["address"], row["port"]) for row in found)}  # fmt: skip
        nobody = [{"port": port, "address": "-", "who": "nobody", "clients": None, "whose": name}
                  for name, port in sorted(silent.items())]  # fmt: skip
        return [*found, *nobody]

    def gpu(self) -> dict[str, t.Any]:
        path = os.pathsep.join([os.environ.get("PATH", ""), *gpu.PLACES])
        tools = [tool for tool in _GPU_TOOLS if shutil.which(tool, path=path)]
        devices = [f"/dev/{name}" for name in _DEVICES if Path(f"/dev/{name}").exists()]
        cards = self._gpus.cards()
        driver = (read_text(Path("/proc/driver/nvidia/version")) or "").splitlines()
        why = "There is no GPU tool (nvidia-smi, rocm-smi)."
        if tools:
            why = f"{tools[0]} is there and tells of no card: it fails, or it hangs."
        notes = ([f"devices {', '.join(devices)}"] if devices else []) + driver[:1]
        return {
            "cards": [
                {
                    "name": card.name,
                    "usage_percent": card.usage_percent,
                    "used_mb": card.used_mb,
                    "total_mb": card.total_mb,
                }
                for card in cards
            ],
            "why_none": why,
            "silent": bool(tools) and not cards,
            "notes": notes,
            "processes": self._vram().value or {},
        }

    def disk(self) -> dict[str, t.Any]:
        manifest = self._store.manifest()
        partial = 0
        for path in self._store.path.glob("partial/**/*"):
            with contextlib.suppress(OSError):
                seen = path.lstat()
                # A part of a model can be there under a second name: it is on its way no more.
                partial += seen.st_blocks * 512 if path.is_file() and seen.st_nlink == 1 else 0
        places = {"store": str(self._store.path), "state": self._layout.state, "engines": self._layout.install,
                  "logs": self._layout.logs, "run": self._layout.run}  # fmt: skip
        return {
            "store": str(self._store.path),
            "models": len(manifest.models),
            "used": manifest.size,
            "limit": float(self._params["max_disk_gb"]) * GB or None,
            "partial": partial,
            "file_systems": _file_systems(places),
        }

    def models(self) -> dict[str, t.Any]:
        reading = self._store.reading()
        records = [
            {
                "name": record.name,
                "status": record.status,
                "bytes": record.size,
                "provider": record.provider,
                "revision": record.revision[:12],
                "path": record.local_path,
            }
            for _name, record in sorted(reading.manifest.models.items())
        ]
        return {"records": records, "problems": list(reading.healed), "busy": self._store.is_busy()}

    def operations(self) -> list[dict[str, t.Any]]:
        """Those that run, then the last that ended, newest first."""
        found = Operations(self._layout, Owner()).all()
        running = [each for each in found if each.running]
        ended = [each for each in found if not each.running][::-1][:SHOWN]
        return [each.as_dict() for each in [*running, *ended]]

    def versions(self) -> list[tuple[str, str]]:
        system = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text(Path("/etc/os-release")) or "", re.MULTILINE)
        boot = _boot_time()
        engines = sorted(
            f"{path.parent.name} {path.name}" for path in Path(self._layout.engines).glob("*/*") if path.is_dir()
        )
        used = {name: read_link(Path(self._layout.engine_link(name))) for name in self._runtimes}
        return [
            ("python", f"{platform.python_version()} ({sys.executable})"),
            ("libraries", ", ".join(_library(name) for name in ("psutil", "requests", "huggingface_hub"))),
            (
                "system",
                f"{system.group(1) if system else platform.system()}, {platform.machine()}, kernel {platform.release()}",
            ),
            ("up", duration(time.time() - boot) if boot else "-"),
            ("account", f"{pwd.getpwuid(os.geteuid()).pw_name}, {'systemd' if has_systemd() else 'no systemd to use'}"),
            ("engines", ", ".join(engines) or "none"),
            *((f"{name} runs", link or "no engine of ours") for name, link in sorted(used.items())),
        ]


def _told(each: strangers.Stranger) -> dict[str, t.Any]:
    unit = f"{each.unit} of {each.unit_user}" if each.unit and each.unit_user else each.unit
    return {
        "kind": each.kind,
        "pid": each.pid,
        "owner": each.owner,
        "engine": each.engine,
        "memory_bytes": each.memory_bytes,
        "vram_bytes": each.vram_bytes,
        "since": each.since,
        "place": f"container {each.container}" if each.container else unit,
        "command": each.command,
    }


def _is_at(place: tuple[str, int], address: str, port: int) -> bool:
    """Whether a socket is where a runtime's is to be."""
    host, number = place
    return number == port and collides(address, host)


def memory() -> dict[str, t.Any]:
    seen = {}
    for line in (read_text(Path("/proc/meminfo")) or "").splitlines():
        cells = line.split()
        seen[cells[0].rstrip(":")] = int(cells[1]) * 1024
    total, available = (seen["MemTotal"], seen["MemAvailable"]) if "MemAvailable" in seen else processes.memory()
    pressure = (read_text(Path("/proc/pressure/memory")) or "").splitlines()[:1]
    return {
        "total": total,
        "available": available,
        "swap_total": seen.get("SwapTotal", 0),
        "swap_free": seen.get("SwapFree", 0),
        "pressure": pressure[0].partition(" total")[0] if pressure else "",
        "load": f"{' '.join(f'{each:.2f}' for each in os.getloadavg())} on {os.cpu_count()} processors",
    }


def killed_for_memory() -> dict[str, t.Any]:
    """What the kernel killed for want of memory, as far as its own log still has it (dev-kmsg)."""
    counted = re.search(r"^oom_kill (\d+)", read_text(Path("/proc/vmstat")) or "", re.MULTILINE)
    events, why_not = [], ""
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError as failure:
        return {"count": _count(counted), "events": [], "why_not": f"the kernel's log is not told: {failure.strerror}"}
    try:
        for _record in range(_RECORDS):
            try:
                head, _semicolon, text = os.read(descriptor, _RECORD).decode("utf-8", "replace").partition(";")
            except BlockingIOError:
                break
            except BrokenPipeError:
                # It was overwritten while it was read; the next one is whole.
                continue
            line = text.partition("\n")[0]
            if _KILLED.search(line):
                moment = _boot_time() + int(head.split(",")[2]) / 1e6
                events.append({"at": written(moment), "said": line})
    except OSError as failure:
        why_not = f"the kernel's log is not told: {failure.strerror}"
    finally:
        os.close(descriptor)
    return {"count": _count(counted), "events": events[-_EVENTS:], "why_not": why_not}


def _count(found: re.Match[str] | None) -> int | None:
    return int(found.group(1)) if found else None


def _boot_time() -> float:
    found = re.search(r"^btime (\d+)", read_text(Path("/proc/stat")) or "", re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def _file_systems(places: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """The file systems of some folders, each once; a folder that is not there yet will be where its parent is."""
    mounted = [line.split() for line in (read_text(Path("/proc/mounts")) or "").splitlines()]
    kinds = {cells[1]: cells[2] for cells in mounted}
    found: dict[int, dict[str, t.Any]] = {}
    for what, place in places.items():
        path = Path(place)
        while not path.exists():
            path = path.parent
        device = path.stat().st_dev
        if device not in found:
            seen = os.statvfs(path)
            mount = path.resolve()
            while not mount.is_mount():
                mount = mount.parent
            inodes = round(100 * (seen.f_files - seen.f_favail) / seen.f_files) if seen.f_files else None
            found[device] = {
                "holds": [],
                "free": seen.f_bavail * seen.f_frsize,
                "total": seen.f_blocks * seen.f_frsize,
                "inodes_percent": inodes,
                "type": kinds.get(str(mount), ""),
                "path": str(mount),
            }
        found[device]["holds"].append(what)
    return list(found.values())


def _library(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is missing"
