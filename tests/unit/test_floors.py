# SPDX-License-Identifier: GPL-3.0-or-later
"""The house: where imports lead, where Ansible is left, what a module may hold, which names are refused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from import_graph import FLOORS, PLUGINS, TOP, files, floor_of, imports, room_of

ENGINES = ("vllm", "ollama", "llama_cpp", "docker_model_runner", "lm_studio")
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
BY_NAME = {str(path.relative_to(TOP)): path for path in files()}


@pytest.mark.parametrize("path", BY_NAME.values(), ids=list(BY_NAME))
def test_an_import_never_climbs(path: Path) -> None:
    room = room_of(path)
    for target in imports(path):
        assert target.is_file(), f"{target} is not there"
        other = room_of(target)
        if other == room:
            continue
        if room == "filter":
            # Controller side: what the engines' and sources' own files say of them.
            assert other in ("_core", "_engines", "_sources"), f"{path} imports {target}"
        else:
            assert floor_of(other) > floor_of(room), f"{path} climbs to {target}"


def test_imports_go_in_no_circle() -> None:
    graph = {path: set(imports(path)) for path in files()}
    done: set[Path] = set()

    def visit(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, f"a circle: {[str(step.relative_to(TOP)) for step in (*way, path)]}"
        if path not in done:
            for target in graph[path]:
                visit(target, (*way, path))
            done.add(path)

    for path in graph:
        visit(path, ())


def test_the_pure_floor_does_nothing() -> None:
    allowed = {"__future__", "base64", "dataclasses", "typing", "re", "json", "hashlib", "fnmatch", "pathlib", "datetime",
               "collections", "functools", "ipaddress"}  # fmt: skip
    for path in (PLUGINS / "module_utils" / "_core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] in allowed, path
            elif isinstance(node, ast.Name):
                assert node.id not in ("open", "print"), f"{path} reaches out of itself"


def test_ansible_is_left_in_one_place() -> None:
    leaving = [path for path in PLUGINS.rglob("*.py") if re.search(r"\b(exit_json|fail_json)\b", path.read_text())]
    assert [str(path.relative_to(PLUGINS)) for path in leaving] == ["module_utils/_ansible/run.py"]


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_a_module_has_no_logic(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda))]
    assert [getattr(node, "name", "") for node in functions] == ["main"]
    assert len(functions[0].body) == 1  # type: ignore[union-attr]
    logic = (ast.For, ast.While, ast.Try, ast.IfExp, ast.ListComp, ast.DictComp, ast.BoolOp)
    assert not [node for node in ast.walk(tree) if isinstance(node, logic)]
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    assert [ast.unparse(node.test) for node in branches] == ["__name__ == '__main__'"]
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", BY_NAME.values(), ids=list(BY_NAME))
def test_a_file_is_one_idea(path: Path) -> None:
    assert path.stem not in ("utils", "helpers", "common", "misc", "base", "manager")
    assert "Manager" not in path.read_text()
    assert len(path.read_text().splitlines()) <= 400
    assert path.read_text().startswith(("# SPDX-License-Identifier: GPL-3.0-or-later\n", "#!/usr/bin/python\n# SPDX"))


def test_nothing_general_names_an_engine() -> None:
    general = [
        *(PLUGINS / "module_utils" / "_core").glob("*.py"),
        *(PLUGINS / "module_utils" / "_work").glob("*.py"),
        *(TOP / "roles").glob("*/templates/*"),
        *(TOP / "roles" / "llm_service").rglob("*.yml"),
        *(TOP / "playbooks").glob("*.yml"),
    ]
    named = [(str(path.relative_to(TOP)), engine) for path in general for engine in ENGINES
             if re.search(rf"\b{engine}\b", path.read_text())]  # fmt: skip
    assert named == []


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((TOP / "meta" / "runtime.yml").read_text())
    assert runtime["action_groups"]["llm"] == [path.stem for path in MODULES]
    assert all("actiongroup_llm" in path.read_text() for path in MODULES)


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in files()} <= {room for floor in FLOORS for room in floor}
