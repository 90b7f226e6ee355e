#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_python_environment
short_description: A Python environment with pinned packages, in one task
version_added: 0.1.0
description:
  - Makes a virtual environment with the host's C(venv) and fills it with the host's package index, a wheel folder
    or both.
  - A mark is written when all is done. An environment whose making was cut short has none, and is made again.
  - Needs nothing on the host but Python 3.9 or newer with C(venv).
author:
  - The llmops.fleet contributors (@llmops)
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
options:
  path:
    description: The environment's folder.
    type: path
    required: true
  requirements:
    description: Packages, each pinned as C(name==version). Packages that are no longer listed stay installed.
    type: list
    elements: str
    default: []
  programs:
    description:
      - Small Python programs by name and text. Each is put into the environment's C(bin) and started with its
        interpreter.
    type: dict
    default: {}
  python:
    description: The interpreter to make it with. Default is the one that runs the module.
    type: path
  index_url:
    description: The package index, instead of the host's own setting.
    type: str
  extra_index_urls:
    description: More indexes.
    type: list
    elements: str
    default: []
  wheel_folder:
    description: A folder on the host with all wheels. If set, no index is asked.
    type: path
  proxy:
    description: The proxy to reach the index through.
    type: str
  state:
    description: Whether the environment is to be there.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Make the modules' environment
  llmops.fleet.llm_python_environment:
    path: /opt/llm/venv
    requirements:
      - huggingface_hub==2.4.0
      - requests==2.34.2
      - urllib3==2.8.0
      - psutil==7.2.2

- name: The same on a host without internet
  llmops.fleet.llm_python_environment:
    path: /opt/llm/venv
    requirements:
      - requests==2.34.2
      - urllib3==2.8.0
    wheel_folder: /srv/wheels
"""

RETURN = r"""
path:
  description: The environment's folder.
  returned: success
  type: str
  sample: /opt/llm/venv
python:
  description: Its interpreter.
  returned: when O(state=present)
  type: str
  sample: /opt/llm/venv/bin/python
"""

from ..module_utils._ansible.run import run
from ..module_utils._work.ensure_python_environment import PythonEnvironmentTask

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "programs": {"type": "dict", "default": {}},
    "python": {"type": "path"},
    "index_url": {"type": "str"},
    "extra_index_urls": {"type": "list", "elements": "str", "default": []},
    "wheel_folder": {"type": "path"},
    "proxy": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    run(PythonEnvironmentTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
