#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_model_info
short_description: The models of a host, what was done to them, and how full and busy the host is
version_added: 0.1.0
description:
  - Reads the store's manifest, the models that programs of the host keep, the history of operations with the progress of
    those that run, and the use of disk, memory, processor and GPU.
  - Programs, hub and the GPU's tools are asked side by side, for O(timeout) at most, all of them together. One that is
    not there, or does not answer in time, is told, and is no failure.
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
  names:
    description: Only these models of the manifest. Default is all.
    type: list
    elements: str
  programs:
    description: Which programs that keep models are asked. Default is all, an empty list none.
    type: list
    elements: str
    choices: [docker_model_runner, lm_studio, ollama]
  endpoints:
    description:
      - Addresses of the programs by name (those of O(programs)), where they are not the usual ones. C(http://),
        C(https://), or C(unix:///path/to.sock), with C(#/path) behind it where the program answers below a path.
    type: dict
    default: {}
  operations:
    description: How many finished operations are told, the last ones first.
    type: int
    default: 5
  max_disk_gb:
    description: The store's limit in GB (10^9 bytes), for the share that is used; 0 means none.
    type: float
    default: 50
  model:
    description:
      - Tell what this model can take, by its name on the host or at its source, without bringing it.
      - Of a model that the host does not have its hub is asked. Ollama's registry tells template and quantization,
        Hugging Face what it has read of the files, also of models that Ollama, LM Studio or Docker Model Runner would
        bring from there (C(hf.co/organisation/name), C(https://huggingface.co/organisation/name)).
    type: str
  source:
    description:
      - The source of O(model). A model that the host has from another source is not the one that is meant.
      - Without it a model of the host with that name is meant, whatever its source, and else one of Hugging Face.
    type: str
    choices: [docker_model_runner, huggingface, lm_studio, ollama]
  endpoint:
    description: Address of the hub or program for O(model).
    type: str
  token:
    description: Access token for O(model). It is never shown.
    type: str
  timeout:
    description: Seconds for all questions to programs, hub and GPU together.
    type: float
    default: 2
"""

EXAMPLES = r"""
- name: Look at the models
  llmops.fleet.llm_model_info:
  register: seen

- name: Say how full the store is
  ansible.builtin.debug:
    msg: "{{ seen.usage.disk_usage_gb }} of {{ seen.usage.disk_limit_gb }} GB"

- name: What a model could take, before it is brought
  llmops.fleet.llm_model_info:
    model: Qwen/Qwen2.5-7B-Instruct-GGUF
    programs: []
  register: asked
"""

RETURN = r"""
models:
  description: The manifest's records.
  returned: success
  type: list
  elements: dict
  sample: [{name: qwen, provider: huggingface, status: installed, size_gb: 4.683}]
missing:
  description: Names that were asked for and are not in the manifest.
  returned: success
  type: list
  elements: str
  sample: []
programs:
  description: What each program keeps, with the model's name in the manifest where it has one.
  returned: success
  type: dict
  sample:
    ollama:
      reachable: true
      reason: null
      error: null
      models:
        - {name: phi, provider: ollama, model: "phi3:mini", revision: 4f2222927938, size_bytes: 2176178913, size_gb: 2.176,
           loaded: true, details: {family: phi3}}
usage:
  description: Disk, memory, processor and GPU. Without a GPU its fields are null.
  returned: success
  type: dict
  sample:
    disk_usage_gb: 4.683
    disk_limit_gb: 50.0
    disk_usage_percent: 9.4
    disk_free_gb: 120.5
    cpu_usage_percent: 3.1
    memory_total_gb: 25.3
    memory_used_gb: 6.1
    memory_usage_percent: 24.1
    gpu_usage_percent: null
    vram_usage_mb: null
    vram_total_mb: null
    vram_usage_percent: null
    models_count: 1
operations:
  description: What is being done, with its progress, and what was done last. A run whose process is gone failed.
  returned: success
  type: dict
  sample:
    running:
      - operation_id: 0123456789ab
        model_name: qwen
        operation_type: install
        status: in_progress
        progress: 42
        message: ""
        error: null
        reason: null
        started_at: "2026-11-21T10:00:00Z"
        finished_at: null
        duration_seconds: null
        bytes_done: 1966890885
        bytes_total: 4683073536
        rate: 98344544
        eta_seconds: 27
        seen_at: "2026-11-21T10:00:20Z"
    last: []
problems:
  description: What of the manifest is not the truth about the disk; the next run of M(llmops.fleet.llm_model) puts it right.
  returned: success
  type: list
  elements: str
  sample: []
capabilities:
  description:
    - What O(model) can take, and where that was read, C(host) or the source. Unknown is null.
    - Where it could not be read C(reason) and C(error) say why, and all other results are there all the same.
  returned: when O(model) is given
  type: dict
  sample:
    from: huggingface
    name: null
    supports_system_role: true
    allowed_roles: [system, user, assistant]
    prompt_template: "{% for message in messages %}…{% endfor %}"
    max_context_length: 32768
    quantization: null
    supports_function_calling: false
    supports_structured_output: null
    supports_reasoning: false
    reason: null
    error: null
"""

from ..module_utils._ansible.argspec import PREFIX, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.model_info import ModelInfoTask

ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    "names": {"type": "list", "elements": "str"},
    "programs": {"type": "list", "elements": "str", "choices": ["docker_model_runner", "lm_studio", "ollama"]},
    "endpoints": {"type": "dict", "default": {}},
    "operations": {"type": "int", "default": 5},
    "max_disk_gb": {"type": "float", "default": 50},
    "model": {"type": "str"},
    "source": {"type": "str", "choices": ["docker_model_runner", "huggingface", "lm_studio", "ollama"]},
    "endpoint": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 2},
}


def main() -> None:
    run(ModelInfoTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
