# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of the real Ollama held against the stand-ins: what differs is told as texts, an empty list is sameness.

What cannot be the same is compared by its shape: times by their form and whether they are for ever, durations and
token counts by their type, a file's digest and size by always standing for the same recorded one, progress lines by
the words in their order and not by their number, tags and parameters without their order, which is random there too.
The values of our tokenizer are our own, and in the output of commands the width of columns and the age of a model.
"""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

OWN_VALUES = {"tokenizer.ggml.unknown_token_id", "tokenizer.ggml.add_bos_token"}
ANY_NUMBER = re.compile(r".*(_duration|eval_count|_tokens|_token_id|^created)$")
TIME = re.compile(r"(20|23)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
ELLIPSIS = re.compile(r"\.\.\. \d+ more lines like these \.\.\.")
AGO = re.compile(r"(Less than a second|\d+ seconds?|About a minute|\d+ minutes) (ago|from now)")


class Comparison:
    """Recorded against ours; digests and sizes must stand for each other one to one."""

    def __init__(self, port: int, models: Path, same: t.Mapping[str, str]) -> None:
        self.port, self.models = port, models
        self.pairs: dict[str, dict[t.Any, t.Any]] = {}
        for recorded, ours in same.items():
            self.stands("digest", recorded, ours)

    def stands(self, kind: str, recorded: t.Any, ours: t.Any) -> bool:
        there = self.pairs.setdefault(kind, {}).setdefault(recorded, ours)
        back = self.pairs.setdefault(f"{kind} back", {}).setdefault(ours, recorded)
        return bool(there == ours and back == recorded)

    def place(self, text: str) -> str:
        """Recorded words with our port and folder."""
        text = re.sub(r"(127\.0\.0\.1|localhost):5001", rf"\1:{self.port}", text)
        return text.replace("/var/lib/ollama/models", str(self.models))

    def ours(self, text: str) -> str:
        """Recorded words with our files too: a request that means the same here."""
        known = self.pairs["digest"]
        return re.sub(r"[0-9a-f]{64}", lambda found: str(known.get(found[0], found[0])), self.place(text))

    def texts(self, recorded: str, ours: str) -> bool:
        recorded = self.place(recorded)
        for kind, pattern in (("digest", r"[0-9a-f]{64}"), ("short", r"\b[0-9a-f]{12}\b")):
            found, own = re.findall(pattern, recorded), re.findall(pattern, ours)
            if len(found) != len(own) or not all(self._digests(kind, *pair) for pair in zip(found, own)):
                return False
            recorded, ours = re.sub(pattern, "#", recorded), re.sub(pattern, "#", ours)
        return recorded == ours

    def _digests(self, kind: str, recorded: str, ours: str) -> bool:
        whole = {full[:12]: own[:12] for full, own in self.pairs["digest"].items()}
        if kind == "short" and recorded in whole:
            return bool(whole[recorded] == ours)
        return self.stands(kind, recorded, ours)

    def differ(self, recorded: t.Any, ours: t.Any, key: str = "", where: str = "") -> list[str]:
        wrong = [f"{where or 'body'}: {recorded!r} is {ours!r} here"]
        if isinstance(recorded, dict) and isinstance(ours, dict):
            return self._objects(recorded, ours, where)
        if isinstance(recorded, list) and isinstance(ours, list):
            return self._arrays(recorded, ours, key, where)
        if type(recorded) is not type(ours) and not {type(recorded), type(ours)} <= {int, float}:
            return wrong
        if key.endswith("_at"):
            forms = [TIME.fullmatch(str(moment)) for moment in (recorded, ours)]
            return [] if forms[0] and forms[1] and forms[0][1] == forms[1][1] else wrong
        if key in ("modelfile", "parameters"):
            lines = [sorted(self.place(recorded).splitlines()), sorted(ours.splitlines())]
            return [] if self.texts("\n".join(lines[0]), "\n".join(lines[1])) else wrong
        if key == "template" and recorded.startswith("{%"):
            return [] if ours.startswith("{% for") else wrong
        if isinstance(recorded, str):
            without = [re.sub(r"cmpl-\d+", "cmpl-1", text) for text in (recorded, ours)]
            return [] if self.texts(*without) else wrong
        if key in ("size", "total"):
            return [] if self.stands("size", recorded, ours) else wrong
        return [] if recorded == ours or ANY_NUMBER.match(key) else wrong

    def _objects(self, recorded: dict[str, t.Any], ours: dict[str, t.Any], where: str) -> list[str]:
        if set(recorded) != set(ours) - (OWN_VALUES if "general.architecture" in recorded else set()):
            return [f"{where or 'body'}: the keys {sorted(recorded)} are {sorted(ours)} here"]
        keys = [key for key in recorded if not (key == "size" and "size_vram" in recorded)]
        return [text for key in keys for text in self.differ(recorded[key], ours[key], key, f"{where}.{key}")]

    def _arrays(self, recorded: list[t.Any], ours: list[t.Any], key: str, where: str) -> list[str]:
        if key == "context":
            return [] if all(isinstance(token, int) for token in ours) else [f"{where}: not only numbers"]
        if len(recorded) != len(ours):
            return [f"{where}: {len(recorded)} are {len(ours)} here"]
        if recorded and isinstance(recorded[0], dict) and "expires_at" not in recorded[0] and "name" in recorded[0]:
            recorded = sorted(recorded, key=lambda entry: self.place(str(entry.get("name"))))
            ours = sorted(ours, key=lambda entry: str(entry.get("name")))
        pairs = enumerate(zip(recorded, ours))
        return [text for index, (one, other) in pairs for text in self.differ(one, other, "", f"{where}[{index}]")]

    def answers(self, recorded: dict[str, t.Any], ours: dict[str, t.Any]) -> list[str]:
        wrong = []
        for word in ("Content-Type", "Allow"):
            if recorded["headers"].get(word) != ours["headers"].get(word):
                wrong.append(f"{word}: {recorded['headers'].get(word)} is {ours['headers'].get(word)} here")
        if recorded["status"] != ours["status"]:
            wrong.append(f"status: {recorded['status']} is {ours['status']} here")
        if "lines" not in recorded:
            return wrong + self.bodies(recorded["body"], ours["body"])
        lines = ours["body"].splitlines()
        if ours["headers"].get("Transfer-Encoding") != "chunked" or not ours["body"].endswith("\n"):
            wrong.append("the stream is not chunked, or does not end with a line end")
        compare = self.progress if '"status"' in recorded["lines"][0] else self.events
        return wrong + compare(recorded["lines"], lines)

    def bodies(self, recorded: str, ours: str) -> list[str]:
        try:
            documents = json.loads(recorded), json.loads(ours)
        except ValueError:
            return [] if recorded == ours else [f"body: {recorded!r} is {ours!r} here"]
        return self.differ(*documents) + (["line end"] if recorded.endswith("\n") != ours.endswith("\n") else [])

    def progress(self, recorded: list[str], ours: list[str]) -> list[str]:
        """The words in their order; of the lines with the same words the first one, or one with what is completed."""
        groups = []
        for lines in (recorded, ours):
            grouped: dict[str, dict[str, t.Any]] = {}
            for line in (json.loads(line) for line in lines if not ELLIPSIS.fullmatch(line)):
                before = grouped.setdefault(line.get("status", "error"), line)
                grouped[line.get("status", "error")] = {**before, **line}
            groups.append([{**line, **self._done(line)} for line in grouped.values() if not self._small(line)])
        return self.differ(groups[0], groups[1], "", "lines")

    def _small(self, line: dict[str, t.Any]) -> bool:
        """A small layer on its way is told only when a tick falls on it."""
        return bool(line.get("total", 1000) < 1000 and line.get("completed") != line["total"])

    def _done(self, line: dict[str, t.Any]) -> dict[str, t.Any]:
        return {"completed": line["completed"] == line["total"]} if "completed" in line else {}

    def events(self, recorded: list[str], ours: list[str]) -> list[str]:
        cut = next((index for index, line in enumerate(recorded) if ELLIPSIS.fullmatch(line)), len(recorded))
        tail = len(recorded) - cut - 1
        if cut < len(recorded):
            recorded, ours = recorded[:cut] + recorded[cut + 1 :], ours[:cut] + ours[len(ours) - tail :]
        if len(recorded) != len(ours):
            return [f"{len(recorded)} lines are {len(ours)} here"]
        plain = [[line.removeprefix("data: ") for line in lines] for lines in (recorded, ours)]
        return [text for one, other in zip(*plain) for text in self.bodies(one, other)]

    def commands(self, recorded: dict[str, t.Any], ours: dict[str, t.Any]) -> list[str]:
        wrong = [] if recorded["rc"] == ours["rc"] else [f"rc: {recorded['rc']} is {ours['rc']} here"]
        for word in ("stdout", "stderr"):
            named = recorded[word].replace("<ESC>", "\033").replace("127.0.0.1:11434", "DAEMON")
            texts = [self._plain(text, recorded["case"]) for text in (named, ours[word])]
            if not self.texts(*texts):
                wrong.append(f"{word}: {texts[0]!r} is {texts[1]!r} here")
        return wrong

    def _plain(self, text: str, case: str) -> str:
        """Columns are as wide as what stands in them, models of one second in no order; the spinner turns as long as it takes."""
        text = re.sub(r" {2,}", "  ", AGO.sub(r"then \2", text))
        if case == "list":
            rows = [re.sub(r":\d+/", "/", row) for row in text.splitlines()]
            text = "\n".join([*rows[:1], *sorted(rows[1:])])
        return re.sub(r"\033\[[?\w]+|[⠋⠙⠹⠸⠼⠴⠦⠧] ", "", text) if case == "run" else text
