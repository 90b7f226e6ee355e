# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's options are typed, equal to its defaults, and carry its prefix; lists that stand twice are the same."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.llmops.fleet.plugins.module_utils._core.host_description import MODEL_KEYS, RUNTIME_KEYS
from ansible_collections.llmops.fleet.plugins.module_utils._engines.registry import ENGINES
from ansible_collections.llmops.fleet.plugins.module_utils._sources.registry import SOURCES
from ansible_collections.llmops.fleet.plugins.modules import llm_model, llm_runtime

TOP = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parents[1] for path in (TOP / "roles").glob("*/meta/argument_specs.yml"))
PYTHON = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text())


def options(role: str, entry: str = "main") -> dict[str, t.Any]:
    found: dict[str, t.Any] = load(TOP / "roles" / role / "meta/argument_specs.yml")["argument_specs"][entry]["options"]
    return found


def test_every_role_has_a_spec() -> None:
    assert sorted(path for path in (TOP / "roles").iterdir() if path.is_dir()) == ROLES


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
def test_options_equal_defaults(role: Path) -> None:
    spec, defaults = options(role.name), load(role / "defaults/main.yml")
    assert {name: option["default"] for name, option in spec.items() if "default" in option} == defaults
    for name, option in spec.items():
        assert name.startswith(f"{role.name}_"), name
        check_type(name, option)


def check_type(name: str, option: dict[str, t.Any]) -> None:
    assert "type" in option, f"{name} has no type; str would be assumed"
    assert option["type"] != "list" or "elements" in option, name
    assert option["description"], name
    if "default" in option:
        assert isinstance(option["default"], PYTHON[option["type"]]), name
    for inner, suboption in option.get("options", {}).items():
        check_type(f"{name}.{inner}", suboption)


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
def test_every_entry_point_is_a_file(role: Path) -> None:
    for entry in load(role / "meta/argument_specs.yml")["argument_specs"]:
        assert (role / "tasks" / f"{entry}.yml").is_file(), entry


def test_the_modules_environment_is_said_once() -> None:
    lines = (TOP / "requirements/host.txt").read_text().splitlines()
    assert load(TOP / "roles/llm_host/defaults/main.yml")["llm_host_requirements"] == [
        line for line in lines if line and not line.startswith("#")
    ]


def test_the_engines_wheel_is_the_tested_one() -> None:
    version = load(TOP / "roles/llama_cpp/defaults/main.yml")["llama_cpp_version"]
    assert f"xllamacpp=={version}" in (TOP / "requirements/test.txt").read_text()


def test_models_are_described_alike_everywhere() -> None:
    record = options("llm_models")["llm_models_list"]["options"]
    assert set(record) == set(llm_model.MODEL_SPEC) == set(MODEL_KEYS)
    for name, option in llm_model.MODEL_SPEC.items():
        assert record[name].get("default") == option.get("default"), name
        assert record[name].get("choices") == option.get("choices"), name
    assert llm_model.MODEL_SPEC["source"]["choices"] == sorted(SOURCES)


def test_runtimes_are_described_alike_everywhere() -> None:
    record = options("llm_service")["llm_service_runtimes"]["options"]
    assert set(record) == set(RUNTIME_KEYS)
    shared = set(record) & set(llm_runtime.ARGUMENT_SPEC)
    assert set(record) - shared == {"gpu", "memory_max"}
    for name in shared - {"state"}:
        assert record[name].get("choices") == llm_runtime.ARGUMENT_SPEC[name].get("choices") or name == "engine", name
    assert llm_runtime.ARGUMENT_SPEC["engine"]["choices"] == sorted(ENGINES)


PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: problems | length == 0
        fail_msg: "{{ problems }}"
      vars:
        problems: >-
          {{ {'store': llm_store | default({}), 'runtimes': llm_runtimes,
              'models': llm_models | llmops.fleet.merge_by_name(llm_models_extra | default([]))}
             | llmops.fleet.host_problems }}
"""


@pytest.mark.parametrize("inventory", ["local", "example"])
def test_the_inventories_describe_hosts_without_a_problem(inventory: str, tmp_path: Path) -> None:
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(TOP / ".cache/collections"),
        "LLM_LOCAL_MODELS": "/srv",
    }
    words = [
        str(program),
        "-i",
        str(TOP / "inventories" / inventory),
        str(tmp_path / "playbook.yml"),
        "-e",
        "ansible_become=false",
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed=0" in done.stdout
