# SPDX-License-Identifier: GPL-3.0-or-later
"""One text on a host for whoever has to find out what is wrong: the worst first, then everything by its part.

What is given here has been freed of secrets: lines are cut and folded, so that none could be found any more.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .clock import written
from .diagnosis_summary import Answer, Answers, age, attention, duration, figures, headline, of_runtimes, size
from .text_table import fold, table

# Of the collection, as galaxy.yml has it.
VERSION = "0.1.0"
_Lines = list[str]


@dataclass(frozen=True)
class Diagnosis:
    """`summary` is one line; `sections` are the parts of `text` by their name."""

    summary: str
    text: str
    sections: t.Mapping[str, str]


def diagnosis(host: str, now: float, answers: Answers) -> Diagnosis:
    """The whole text. `answers` are by what was asked, and by the runtime or an empty string for the host."""
    summary = headline(answers)
    parts: dict[str, _Lines] = {"summary": _summary(summary, answers, now)}
    for name, part in _SECTIONS.items():
        parts[name] = part(answers, now)
    sections = {name: "\n".join(lines) + "\n" for name, lines in parts.items()}
    body = "\n".join(f"{_TITLES.get(name, name).upper()}\n{text}" for name, text in sections.items())
    return Diagnosis(summary, f"Diagnosis of {host}, {written(now)}\n\n{body}", sections)


def _summary(summary: str, answers: Answers, now: float) -> _Lines:
    lines = [*fold(summary, "  "), ""]
    found = attention(answers, now)
    lines += [line for each in found for line in fold(f"! {each}", "  ", more="    ")]
    lines += [] if found else ["  Nothing stands out."]
    return [*lines, "", *(line for each in figures(answers) for line in fold(each, "  "))]


def _with_error(answer: Answer | None, show: t.Callable[[t.Any], _Lines], indent: str = "  ") -> _Lines:
    """What is shown of one answer, or the one line on why there is none."""
    if answer is None or answer.error:
        return fold(f"! {answer.error if answer else 'not looked at'}", indent)
    return show(answer.value)


def _each(what: str, answers: Answers, show: t.Callable[[t.Any], _Lines], none: str = "There is no runtime.") -> _Lines:
    """The same part of every runtime, below its name."""
    lines: _Lines = []
    for name, answer in of_runtimes(answers, what):
        lines += [f"  {name}", *_with_error(answer, show, "    ")]
    return lines or _with_error(answers.get(("names", "")), lambda _names: [f"  {none}"])


def _runtimes(answers: Answers, now: float) -> _Lines:
    del now
    titles = ["name", "status", "phase", "model", "port", "pid", "memory", "vram", "up", "restarts", "gen", "proof"]
    rows, more = [], []
    for name, answer in of_runtimes(answers, "status"):
        seen = answer.value
        if answer.error or seen is None:
            rows.append([name, "unknown" if answer.error else "never served", *["-"] * 10])
            more += fold(f"{name}: ! {answer.error}", "  ", more="    ") if answer.error else []
            continue
        rows.append(
            [
                name,
                seen["status"],
                seen.get("phase") or "-",
                seen.get("model") or "-",
                _or_dash(seen.get("port")),
                _or_dash(seen.get("pid")),
                _megabytes(seen.get("memory_mb")),
                _megabytes(seen.get("vram_mb")),
                duration(seen.get("uptime_seconds")),
                _or_dash(seen.get("restarts")),
                _or_dash(seen.get("generation")),
                _proof(seen.get("proof")),
            ]
        )
        names = ", ".join(seen.get("served_names") or ()) or "no name"
        context = f", context {seen['context_length']}" if seen.get("context_length") else ""
        kept = f"kept by {seen.get('supervisor') or '?'}" + (f" ({seen['unit']})" if seen.get("unit") else "")
        told = f"{name}: {seen.get('engine') or '?'} serves {names} at {seen.get('address') or '?'}{context}; {kept}"
        more += fold(told, "  ", more="    ")
        more += [line for reason in seen.get("reasons") or () for line in fold(f"! {reason}", "    ", more="      ")]
    if not rows:
        return _with_error(answers.get(("names", "")), lambda _names: ["  There is no runtime."])
    return [*table(titles, rows), "", *more]


def _or_dash(value: t.Any) -> str:
    return "-" if value is None else str(value)


def _megabytes(value: int | None) -> str:
    return "-" if value is None else size(value * 1e6)


def _proof(proof: t.Mapping[str, t.Any] | None) -> str:
    if not proof:
        return "none yet"
    words = [str(proof.get("level") or "?"), "ok" if proof.get("ok") else "FAILED"]
    if proof.get("age_seconds") is not None:
        words.append(f"{duration(proof['age_seconds'])} ago")
    if proof.get("tokens_per_second"):
        words.append(f"{proof['tokens_per_second']:g} tokens/s")
    return ", ".join(words)


def _transactions(answers: Answers, now: float) -> _Lines:
    def show(value: t.Any) -> _Lines:
        rows = []
        for each in value["transactions"]:
            end = each["step"] if each["ended"] else f"INTERRUPTED at '{each['step']}'"
            way = f"{_or_dash(each['from_generation'])} > {each['to_generation']}"
            spent = [(name, figure) for name, figure in each["seconds"].items() if isinstance(figure, (int, float))]
            took = f"{sum(figure for _name, figure in spent):.1f} s" if spent else "-"
            slow = max(spent, key=lambda pair: pair[1])[0] if spent else "-"
            rows.append([str(each["number"]), age(each["at"], now), way, end, took, slow, each["why"] or "-"])
        titles = ["no", "begun", "generation", "came to", "took", "longest step", "why"]
        lines = table(titles, rows, "    ") if rows else ["    Its journal has none."]
        lost = value["unreadable"]
        return lines + ([f"    ! {lost} line(s) of its journal cannot be read"] if lost else [])

    return _each("transactions", answers, show)


def _strangers(answers: Answers, now: float) -> _Lines:
    def show(value: t.Any) -> _Lines:
        rows = [
            [
                each["kind"],
                str(each["pid"]),
                each["owner"] or "?",
                each["engine"] or "-",
                size(each["memory_bytes"]),
                "-" if each["vram_bytes"] is None else size(each["vram_bytes"]),
                duration(now - each["since"]),
                each["place"] or "-",
                each["command"],
            ]
            for each in value
        ]
        titles = ["kind", "pid", "owner", "engine", "memory", "vram", "since", "unit or container", "command"]
        return table(titles, rows) if rows else ["  None: no engine started by hand, no zombie, nothing left over."]

    return _with_error(answers.get(("strangers", "")), show)


def _processes(answers: Answers, now: float) -> _Lines:
    def show(value: t.Any) -> _Lines:
        rows = [
            [
                "  " * each["depth"] + str(each["pid"]),
                each["state"],
                size(each["memory_bytes"]),
                "-" if each["vram_bytes"] is None else size(each["vram_bytes"]),
                _or_dash(each["threads"]),
                "-" if each["since"] is None else duration(now - each["since"]),
                each["command"],
            ]
            for each in value
        ]
        titles = ["pid", "state", "rss", "vram", "threads", "up", "command"]
        return table(titles, rows, "    ", left=1) if rows else ["    No process."]

    return _each("processes", answers, show)


def _ports(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        titles = ["port", "address", "listens", "clients", "whose"]
        rows = [[str(each["port"]), each["address"], each["who"], _or_dash(each["clients"]), each["whose"]]
                for each in value]  # fmt: skip
        return table(titles, rows) if rows else ["  Nothing listens on a port of a runtime or an engine."]

    return _with_error(answers.get(("ports", "")), show)


def _memory(answers: Answers, now: float) -> _Lines:
    def host(value: t.Any) -> _Lines:
        return _pairs(
            [
                ("memory", f"{size(value['total'])}, {size(value['available'])} available"),
                (
                    "swap",
                    f"{size(value['swap_total'])}, {size(value['swap_free'])} free" if value["swap_total"] else "none",
                ),
                ("pressure", value["pressure"] or "not told"),
                ("load", value["load"] or "not told"),
            ]
        )

    def limits(value: t.Any) -> _Lines:
        return _pairs(value, "    ") if value else ["    No process."]

    def killed(value: t.Any) -> _Lines:
        count = value["count"]
        told = "not counted" if count is None else f"{count} since the boot"
        lines = [f"  Killed for want of memory: {told}{'; ' + value['why_not'] if value['why_not'] else ''}"]
        for each in value["events"]:
            lines += fold(f"{age(each['at'], now)}  {each['said']}", "    ", more="      ")
        return lines

    lines = _with_error(answers.get(("memory", "")), host)
    lines += _with_error(answers.get(("oom", "")), killed)
    own = [line for name, answer in of_runtimes(answers, "limits")
           for line in (f"  Limits of {name}", *_with_error(answer, limits, "    "))]  # fmt: skip
    return lines + own


def _gpu(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        rows = [
            [
                each["name"],
                "-" if each["usage_percent"] is None else f"{each['usage_percent']:.0f} %",
                "-" if each["used_mb"] is None else f"{each['used_mb']} MiB",
                "-" if each["total_mb"] is None else f"{each['total_mb']} MiB",
            ]
            for each in value["cards"]
        ]
        lines = table(["card", "busy", "used", "memory"], rows) if rows else [f"  {value['why_none']}"]
        lines += [line for note in value["notes"] for line in fold(note, "  ")]
        held = [f"process {pid}: {size(used)}" for pid, used in sorted(value["processes"].items())]
        return lines + (fold(f"Held by {', '.join(held)}", "  ") if held else [])

    return _with_error(answers.get(("gpu", "")), show)


def _disk(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        limit = value["limit"]
        of = f" of {size(limit)} ({100 * value['used'] / limit:.0f} %)" if limit else ", without a limit"
        coming = f", and {size(value['partial'])} on their way in" if value["partial"] else ""
        rows = [
            [", ".join(each["holds"]), size(each["free"]), size(each["total"]), _or_dash(each["inodes_percent"]),
             each["type"] or "-", each["path"]]
            for each in value["file_systems"]
        ]  # fmt: skip
        head = fold(f"Store {value['store']}: {value['models']} models, {size(value['used'])}{of}{coming}", "  ")
        return [*head, *table(["holds", "free", "size", "inodes %", "type", "folder"], rows)]

    return _with_error(answers.get(("disk", "")), show)


def _models(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        titles = ["name", "status", "size", "source", "revision", "folder"]
        rows = [[each["name"], each["status"], size(each["bytes"]), each["provider"], each["revision"] or "-",
                 each["path"] or "-"] for each in value["records"]]  # fmt: skip
        lines = table(titles, rows) if rows else ["  The manifest has no model."]
        lines += [line for said in value["problems"] for line in fold(f"! {said}", "  ", more="    ")]
        if not value["problems"]:
            lines.append("  The manifest is the truth about names and sizes on the disk; nothing was hashed.")
        return lines + (["  Another run is changing the store just now."] if value["busy"] else [])

    return _with_error(answers.get(("models", "")), show)


def _generations(answers: Answers, now: float) -> _Lines:
    def show(value: t.Any) -> _Lines:
        rows = [
            [
                str(each["number"]),
                age(each["time"], now),
                "serves" if each["serving"] else each["status"],
                each["model"] or "-",
                each["engine"],
                _or_dash(each["restores"]),
                each["reason"] or "-",
            ]
            for each in value["records"]
        ]
        titles = ["no", "made", "status", "model", "engine", "copy of", "reason"]
        lines = table(titles, rows, "    ") if rows else ["    None."]
        lost = [
            line for name in value["unreadable"] for line in fold(f"! {name} cannot be read", "    ", more="      ")
        ]
        return lines + lost

    return _each("generations", answers, show)


def _operations(answers: Answers, now: float) -> _Lines:
    def show(value: t.Any) -> _Lines:
        titles = ["begun", "what", "model", "status", "took", "error"]
        rows = []
        for each in value:
            status = f"{each['status']} {each['progress']} %" if each["finished_at"] is None else each["status"]
            row = [age(each["started_at"], now), each["operation_type"], each["model_name"], status]
            rows.append([*row, duration(each["duration_seconds"]), each["error"] or "-"])
        return table(titles, rows) if rows else ["  None."]

    return _with_error(answers.get(("operations", "")), show)


def _services(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        lines = _pairs(value["state"], "    ")
        for title, text in value["files"]:
            lines += fold(title, "    ", more="      ")
            lines += [line for each in text for line in fold(each, "      ", more="          ")]
        return lines

    return _each("service", answers, show)


def _logs(answers: Answers, now: float) -> _Lines:
    del now

    def show(value: t.Any) -> _Lines:
        lines: _Lines = []
        for each in value:
            lines += fold(f"{each['source']}{'' if each['lines'] else ': nothing'}", "    ", more="      ")
            lines += [line for said in each["lines"] for line in fold(said, "      ", more="          ")]
        return lines or ["    It is kept elsewhere."]

    return _each("log", answers, show)


def _versions(answers: Answers, now: float) -> _Lines:
    del now
    return _with_error(answers.get(("versions", "")), lambda value: _pairs([("collection", VERSION), *value]))


def _pairs(pairs: t.Sequence[t.Sequence[str]], indent: str = "  ") -> _Lines:
    width = max((len(name) for name, _value in pairs), default=0)
    lines: _Lines = []
    for name, value in pairs:
        lines += fold(f"{name.ljust(width)}  {value}", indent, more=indent + " " * (width + 2))
    return lines


_SECTIONS: dict[str, t.Callable[[Answers, float], _Lines]] = {
    "runtimes": _runtimes,
    "transactions": _transactions,
    "strangers": _strangers,
    "processes": _processes,
    "ports": _ports,
    "memory": _memory,
    "gpu": _gpu,
    "disk": _disk,
    "models": _models,
    "generations": _generations,
    "operations": _operations,
    "versions": _versions,
    "services": _services,
    "logs": _logs,
}
_TITLES = {"transactions": "activations", "services": "units and keepers", "operations": "last operations"}
