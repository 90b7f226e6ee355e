# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host an operator should see first: how many runtimes are well, what stands out, and how full it is."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import clock

# As many as leave the first screen one screen.
_MOST, _NAMED = 14, 3
_FULL_PERCENT = 90.0
_LITTLE_DISK = 0.05
# States in which no process of a runtime should be (proc_pid_stat(5)).
ODD_STATES = {"Z": "Z (zombie)", "T": "T (stopped)", "t": "t (traced)"}
# Seconds back for which it matters that the kernel killed something, or an operation failed.
_RECENT = 24 * 3600.0


@dataclass(frozen=True)
class Answer:
    """What was asked of the host: a value, or one line on why there is none."""

    value: t.Any = None
    error: str = ""


# By what was asked, and the runtime or an empty string.
Answers = t.Mapping[tuple[str, str], Answer]


def of_runtimes(answers: Answers, what: str) -> list[tuple[str, Answer]]:
    return [(name, answer) for (asked, name), answer in sorted(answers.items(), key=_key) if asked == what and name]


def _key(item: tuple[tuple[str, str], Answer]) -> tuple[str, str]:
    return item[0]


def headline(answers: Answers) -> str:
    """One line: `2 of 3 runtimes online; chat is degraded: nothing answers on its port 8080`."""
    names = answers.get(("names", ""), Answer())
    if names.error:
        return f"The runtimes cannot be listed: {names.error}"
    told = of_runtimes(answers, "status")
    if not told:
        return "No runtime is here"
    online = [name for name, answer in told if answer.value and answer.value["status"] == "online"]
    rest = [_trouble(name, answer) for name, answer in told if name not in online]
    word = "runtime" if len(told) == 1 else "runtimes"
    more = [f"and {len(rest) - _NAMED} more"] if len(rest) > _NAMED else []
    return "; ".join([f"{len(online)} of {len(told)} {word} online", *rest[:_NAMED], *more])


def _trouble(name: str, answer: Answer) -> str:
    if answer.error:
        return f"{name} is unknown: {answer.error}"
    if answer.value is None:
        return f"{name} has never served"
    reasons = answer.value.get("reasons") or ["no reason was given"]
    return f"{name} is {answer.value['status']}: {reasons[0]}"


def attention(answers: Answers, now: float) -> list[str]:
    """What stands out beside the headline, worst first; each one clause."""
    found = [
        *_of_the_runtimes(answers, now),
        *_of_the_memory(answers, now),
        *_of_the_bytes(answers, now),
        *_of_the_strangers(answers),
    ]
    silent = [
        f"{what}{f' of {name}' if name else ''}" for (what, name), answer in sorted(answers.items()) if answer.error
    ]
    if silent:
        found.append(f"could not be looked at: {', '.join(silent)}")
    left = len(found) - _MOST
    return found if left <= 0 else [*found[:_MOST], f"and {left} more, in the parts below"]


def _of_the_runtimes(answers: Answers, now: float) -> t.Iterator[str]:
    for name, answer in of_runtimes(answers, "status"):
        seen = answer.value or {}
        # The first reason is in the headline.
        yield from (f"{name}: {reason}" for reason in list(seen.get("reasons") or ())[1:])
        if seen.get("proof") and not seen["proof"].get("ok"):
            yield f"{name}: its last proof failed"
        interrupted = seen.get("interrupted")
        if interrupted and not any("interrupted" in reason for reason in seen.get("reasons") or ()):
            to, step = interrupted["to_generation"], interrupted["step"]
            yield f"{name}: an activation of generation {to} was interrupted at step '{step}'; nothing was touched yet"
    for name, answer in of_runtimes(answers, "processes"):
        odd = [each for each in answer.value or () if each["state"] in ODD_STATES.values()]
        yield from (f"{name}: its process {each['pid']} is in state {each['state']}" for each in odd)
    for name, answer in of_runtimes(answers, "transactions"):
        last = (answer.value or {}).get("transactions") or ()
        if last and last[0]["ended"] and last[0]["step"] != "committed":
            when = age(last[0]["at"], now)
            yield f"{name}: its last activation, {when}, was {last[0]['step']}: {last[0]['why'] or 'no reason was noted'}"
        if (answer.value or {}).get("unreadable"):
            yield f"{name}: its journal has lines that cannot be read"
    for name, answer in of_runtimes(answers, "generations"):
        for record in (answer.value or {}).get("unreadable") or ():
            yield f"{name}: the record {record} of its generations cannot be read"


def _of_the_memory(answers: Answers, now: float) -> t.Iterator[str]:
    killed = answers.get(("oom", ""), Answer()).value
    events = [each for each in killed["events"] if now - (clock.read(each["at"]) or 0) < _RECENT] if killed else []
    if events:
        yield f"the kernel killed for want of memory {age(events[-1]['at'], now)}: {events[-1]['said']}"
    memory = answers.get(("memory", ""), Answer()).value
    if memory and memory["total"] and memory["available"] < (1 - _FULL_PERCENT / 100) * memory["total"]:
        yield f"memory: only {size(memory['available'])} of {size(memory['total'])} are available"
    if memory and memory["swap_total"] and memory["swap_free"] < 0.5 * memory["swap_total"]:
        yield f"swap: {size(memory['swap_total'] - memory['swap_free'])} of {size(memory['swap_total'])} are in use"
    gpu = answers.get(("gpu", ""), Answer()).value
    for card in gpu["cards"] if gpu else ():
        if card["used_mb"] and card["total_mb"] and card["used_mb"] > _FULL_PERCENT / 100 * card["total_mb"]:
            yield f"GPU {card['name']}: {card['used_mb']} of {card['total_mb']} MiB are in use"
    if gpu and gpu["silent"]:
        yield f"GPU: {gpu['why_none']}"


def _of_the_bytes(answers: Answers, now: float) -> t.Iterator[str]:
    models = answers.get(("models", ""), Answer()).value
    yield from models["problems"] if models else ()
    disk = answers.get(("disk", ""), Answer()).value
    for each in disk["file_systems"] if disk else ():
        if each["total"] and each["free"] < _LITTLE_DISK * each["total"]:
            yield f"disk: only {size(each['free'])} of {size(each['total'])} are free for {', '.join(each['holds'])}"
        if (each["inodes_percent"] or 0) > _FULL_PERCENT:
            yield f"disk: {each['inodes_percent']} % of the inodes for {', '.join(each['holds'])} are in use"
    if disk and disk["limit"] and disk["used"] > disk["limit"]:
        yield f"store: {size(disk['used'])} are above its limit of {size(disk['limit'])}"
    for each in answers.get(("operations", ""), Answer()).value or ():
        if each["status"] == "failed" and now - (clock.read(each["finished_at"]) or 0) < _RECENT:
            when = age(each["finished_at"], now)
            yield f"{each['operation_type']} of {each['model_name']} failed {when}: {each['error'] or 'no reason was noted'}"


def _of_the_strangers(answers: Answers) -> t.Iterator[str]:
    said = {
        "listener": "somebody else listens on the port of a runtime",
        "engine": "an engine that no runtime here started",
        "orphan": "left over of a runtime",
        "zombie": "a zombie that its parent does not reap",
    }
    for each in answers.get(("strangers", ""), Answer()).value or ():
        command = each["command"] if len(each["command"]) < 50 else each["command"][:49] + "…"
        memory = f", {size(each['memory_bytes'])}" if each["memory_bytes"] else ""
        memory += f", {size(each['vram_bytes'])} of GPU memory" if each["vram_bytes"] else ""
        engine = f"{each['engine']}, " if each["engine"] else ""
        owner = each["owner"] or "?"
        yield f"{said.get(each['kind'], each['kind'])}: {engine}process {each['pid']} of {owner} ({command}){memory}"


def figures(answers: Answers) -> list[str]:
    """How full the host is, in a line or two."""
    parts = []
    memory = answers.get(("memory", ""), Answer()).value
    if memory and memory["total"]:
        used = memory["total"] - memory["available"]
        parts.append(f"memory {size(used)} of {size(memory['total'])} ({100 * used / memory['total']:.0f} %)")
        swapped = memory["swap_total"] - memory["swap_free"]
        parts.append(f"swap {size(swapped)} of {size(memory['swap_total'])}" if memory["swap_total"] else "no swap")
        parts.append(f"load {memory['load']}")
    gpu = answers.get(("gpu", ""), Answer()).value
    if gpu:
        cards = [f"{each['used_mb']} of {each['total_mb']} MiB" for each in gpu["cards"]]
        parts.append(f"GPU {', '.join(cards)}" if cards else "GPU silent" if gpu["silent"] else "no GPU seen")
    disk = answers.get(("disk", ""), Answer()).value
    if disk:
        of = f" of {size(disk['limit'])}" if disk["limit"] else ""
        free = next((each["free"] for each in disk["file_systems"] if "store" in each["holds"]), None)
        parts.append(f"store {size(disk['used'])}{of}" + (f", {size(free)} free" if free is not None else ""))
    return [" · ".join(parts)] if parts else []


def size(count: float) -> str:
    """Decimal units, as disks and the store's limit are counted."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if factor > 1e6 else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float | None) -> str:
    """Two units are enough: `3d 4h`, `5m 6s`."""
    if seconds is None:
        return "-"
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def age(moment: str, now: float) -> str:
    """How long ago a written moment was; as it stands where it cannot be read."""
    at = clock.read(moment)
    return f"{duration(now - at)} ago" if at is not None else moment or "-"
