#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_model
short_description: Models in a host's store, proven byte by byte
version_added: 0.1.0
description:
  - Brings models from a hub or from the host into the store, or removes them. A whole list is one task.
  - Resolves the exact revision first, then plans against store, limits and disk, then fetches what is missing,
    proves every file by its hash while it is written, and commits the model with one rename.
  - A run that is cut short keeps what has arrived; the next one asks the hub only for the rest.
  - One metadata request is made for a branch or tag, none for a full commit that the store has.
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - requests and huggingface_hub on the host for O(source=huggingface); the role P(llmops.fleet.llm_host#role) installs them.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.place
  - llmops.fleet.place.store
  - llmops.fleet.model
options:
  state:
    description:
      - Whether the models are to be there.
      - V(verified) also hashes what is there and repairs it.
    type: str
    choices: [present, absent, verified]
    default: present
  verify_share:
    description: With O(state=verified), the share of a large file's parts that is hashed, drawn anew each time.
    type: float
    default: 1.0
  force:
    description: With O(state=absent), remove a model even if a runtime has it active.
    type: bool
    default: false
  token_file:
    description: File on the host that holds the hub's token. E(HF_TOKEN) is looked at last.
    type: path
  hub_caches:
    description: >-
      Caches of the hub's own client on the host, whose files are taken up instead of fetched. The usual one if empty.
    type: list
    elements: path
    default: []
  max_disk_gb:
    description: Limit of the whole store in GB (10^9 bytes); 0 means none.
    type: float
    default: 50
  max_model_gb:
    description: Size in GB above which a model needs O(allow_large); 0 means none.
    type: float
    default: 20
  evict:
    description: >-
      Whether models that nobody uses make room when O(max_disk_gb) would be passed, least recently used first. Never one
      that is pinned, active, kept for a rollback, or part of the task.
    type: str
    choices: [never, unused]
    default: never
  max_mb_per_second:
    description: >-
      Limit of the transfer in MB (10^6 bytes) a second; 0 means none. Only for what is fetched here: programs that keep
      their models, and V(xet), have no such limit.
    type: float
    default: 0
  workers:
    description: How many connections are open at once; few files share them.
    type: int
    default: 4
  timeout:
    description: Seconds without a byte after which a connection counts as broken.
    type: float
    default: 30
  lock_timeout:
    description: Seconds to wait for another run that changes the same store.
    type: float
    default: 3600
"""

EXAMPLES = r"""
- name: Pull one quantization, pinned
  llmops.fleet.llm_model:
    name: qwen
    model: Qwen/Qwen2.5-7B-Instruct-GGUF
    revision: 0123456789abcdef0123456789abcdef01234567
    include: ["*q4_k_m*.gguf"]

- name: A whole list in one task
  llmops.fleet.llm_model:
    models: "{{ llm_models }}"
    token: "{{ hf_token }}"
    max_disk_gb: 200

- name: Remove one
  llmops.fleet.llm_model:
    name: qwen
    state: absent
"""

RETURN = r"""
models:
  description: The manifest's records of the models asked for, as they are after the task.
  returned: success
  type: list
  elements: dict
  sample:
    - name: qwen
      provider: huggingface
      display_name: qwen
      size_bytes: 4683073536
      size_gb: 4.683
      status: installed
      local_path: /var/lib/llm/models/huggingface/Qwen--Qwen2.5-7B-Instruct-GGUF@0123456789abcdef0123456789abcdef01234567/qwen2.5-7b-instruct-q4_k_m.gguf
      revision: 0123456789abcdef0123456789abcdef01234567
      sha256: 65b8fcd92af6b4fefa935c625d1ac27ea29dcb6ee14589c55a8f115ceaaa1423
plan:
  description: What was to be done, also in check mode and when it was refused.
  returned: success, and on failure after planning
  type: dict
  sample:
    steps:
      - name: qwen
        action: fetch
        revision_before: null
        revision_after: 0123456789abcdef0123456789abcdef01234567
        files_to_fetch: [qwen2.5-7b-instruct-q4_k_m.gguf]
        bytes_to_fetch: 4683073536
        bytes_here: 0
        damaged: []
        ram_min_gb: 16.0
        ram_recommended_gb: 24.0
        refused: null
    bytes_to_fetch: 4683073536
    disk_before_gb: 0.0
    disk_after_gb: 4.683
    disk_limit_gb: 50.0
    quota: within
healed:
  description: What of the manifest was not the truth about the disk and was put right.
  returned: when there was something
  type: list
  elements: str
  sample: [Model qwen is in /var/lib/llm/models/url/qwen@0123456789ab and the manifest did not know it.]
notes:
  description: What happened on the way and should be known, such as a damaged layer that was brought anew.
  returned: when there was something
  type: list
  elements: str
  sample: ["Model phi: one layer did not hash to its name; it was deleted and pulled again."]
reason:
  description: A code for the failure, for playbooks that act on it.
  returned: failure
  type: str
  sample: gated
details:
  description: What a bug report needs.
  returned: failure
  type: dict
  sample: {status: 403}
"""

from ..module_utils._ansible.argspec import MODEL, PREFIX, STAGED, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.ensure_model import ModelTask

MODEL_SPEC = MODEL
ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    **MODEL_SPEC,
    **STAGED,
    "models": {
        "type": "list",
        "elements": "dict",
        "options": {**MODEL_SPEC, **STAGED, "name": {"type": "str", "required": True}},
    },
    "state": {"type": "str", "choices": ["present", "absent", "verified"], "default": "present"},
    "verify_share": {"type": "float", "default": 1.0},
    "token_file": {"type": "path", "no_log": False},
    "hub_caches": {"type": "list", "elements": "path", "default": []},
    "evict": {"type": "str", "choices": ["never", "unused"], "default": "never"},
    "max_mb_per_second": {"type": "float", "default": 0},
    "force": {"type": "bool", "default": False},
    "max_disk_gb": {"type": "float", "default": 50},
    "max_model_gb": {"type": "float", "default": 20},
    "workers": {"type": "int", "default": 4},
    "timeout": {"type": "float", "default": 30},
    "lock_timeout": {"type": "float", "default": 3600},
}


def main() -> None:
    run(ModelTask, ARGUMENT_SPEC, mutually_exclusive=[("name", "models")], required_one_of=[("name", "models")])


if __name__ == "__main__":
    main()
