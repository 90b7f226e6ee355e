# SPDX-License-Identifier: GPL-3.0-or-later
"""Write each role's README from its argument specs: role_readme.py [--check]."""

from __future__ import annotations

import json
import re
import typing as t

import yaml
from generated import TOP, write

MARKUP = re.compile(r"\b([OVCEPM])\(([^)]*)\)")
Options = dict[str, dict[str, t.Any]]


def plain(text: t.Any) -> str:
    """Ansible's markup as Markdown, on one line."""
    joined = " ".join(text) if isinstance(text, list) else str(text)
    return MARKUP.sub(_as_code, joined).replace("|", "\\|").replace("\n", " ").strip()


def _as_code(found: re.Match[str]) -> str:
    """Of `O(a.b.role#role:name)` the name, of `P(a.b.role#role)` the role, and anything else as it stands."""
    letter, text = found.groups()
    if letter == "O" and "#" in text:
        text = text.partition(":")[2]
    if letter == "P":
        text = text.partition("#")[0]
    return f"`{text}`"


def table(options: Options) -> list[str]:
    lines = ["| option | type | default | what it is |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        default = (
            f"`{json.dumps(option['default'])}`"
            if "default" in option
            else "required"
            if option.get("required")
            else ""
        )
        choices = (
            f" One of {', '.join(f'`{json.dumps(c)}`' for c in option['choices'])}." if "choices" in option else ""
        )
        lines.append(f"| `{name}` | {kind} | {default} | {plain(option['description'])}{choices} |")
    return lines


def readme(role: str, specs: dict[str, t.Any]) -> str:
    main = specs["main"]
    lines = [f"# {role}", "", f"{main['short_description']}.", ""]
    lines += [plain(main["description"]), ""] if "description" in main else []
    lines += ["## Options", "", *table(main["options"]), ""]
    for name, option in main["options"].items():
        if "options" in option:
            lines += [f"### Records of `{name}`", "", *table(option["options"]), ""]
    others = {name: spec for name, spec in specs.items() if name != "main"}
    if others:
        lines += ["## Other entry points", "", "| `tasks_from` | what it does |", "| --- | --- |"]
        lines += [f"| `{name}` | {spec['short_description']} |" for name, spec in others.items()] + [""]
    lines += ["GPL-3.0-or-later. Written from `meta/argument_specs.yml` by `make docs`.", ""]
    return "\n".join(lines)


def main() -> None:
    documents = {}
    for path in sorted((TOP / "roles").glob("*/meta/argument_specs.yml")):
        role = path.parents[1]
        specs = yaml.safe_load(path.read_text())["argument_specs"]
        documents[role / "README.md"] = readme(role.name, specs)
    write(documents)


if __name__ == "__main__":
    main()
