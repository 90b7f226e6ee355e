#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_diagnosis_info
short_description: One text on a host for whoever has to find out what is wrong
version_added: 0.1.0
description:
  - Tells of all runtimes their status, activations, generations, processes, ports, memory limits, unit or keeper, and the
    end of their logs; of the host its memory, GPU, disk, models, last operations, strangers and versions.
  - A part that fails or does not answer within O(timeout) says so in one line; the others are told all the same.
  - Secrets are masked wherever they occur, those of the secrets files by their value and others by their form and name.
    Where a secrets file cannot be read, logs, units and command lines are left out.
  - Sizes of model files are compared with the manifest; nothing is hashed.
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - psutil and requests on the host; the role P(llmops.fleet.llm_host#role) installs them.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
  - llmops.fleet.place
  - llmops.fleet.place.store
options:
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 10
  lines:
    description: How many of the last lines of each runtime's log are told.
    type: int
    default: 100
  max_disk_gb:
    description: The store's limit in GB (10^9 bytes), for the share that is used; 0 means none.
    type: float
    default: 50
"""

EXAMPLES = r"""
- name: Look into the host
  llmops.fleet.llm_diagnosis_info:
  register: seen

- name: Show what stands out
  ansible.builtin.debug:
    msg: "{{ seen.sections.summary.splitlines() }}"
"""

RETURN = r"""
report:
  description: The whole text, of at most 120 columns.
  returned: success
  type: str
  sample: "Diagnosis of web-1, 2026-11-21T10:00:00Z\n\nSUMMARY\n  1 of 1 runtime online\n"
summary:
  description: One line on the runtimes.
  returned: success
  type: str
  sample: "2 of 3 runtimes online; chat is degraded: nothing answers on its port 8080"
sections:
  description: >-
    The parts of RV(report) by name. They are C(summary), C(runtimes), C(transactions), C(strangers), C(processes),
    C(ports), C(memory), C(gpu), C(disk), C(models), C(generations), C(operations), C(versions), C(services) and C(logs).
  returned: success
  type: dict
  sample:
    gpu: "  There is no GPU tool (nvidia-smi, rocm-smi).\n"
"""

from ..module_utils._ansible.argspec import PREFIX, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.diagnose import DiagnosisTask

ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    "timeout": {"type": "float", "default": 10},
    "lines": {"type": "int", "default": 100},
    "max_disk_gb": {"type": "float", "default": 50},
}


def main() -> None:
    run(DiagnosisTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
