#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_catalog_info
short_description: Models that can be had, and which of them fit this host
version_added: 0.1.0
description:
  - Searches the Hugging Face hub, Ollama's library, Docker Hub's namespace C(ai) and a built-in list, all at once, and
    gives one form of record for all, with the memory that a model needs.
  - Answers are kept for O(cache_minutes). A hub that does not answer is told by its last answer, and where there never
    was one, the built-in list is given. The module does not fail because a hub is down.
  - To ask from the controller, delegate the task to C(localhost) and pass O(memory_gb) of the host that is meant.
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - psutil, requests and, for V(huggingface), huggingface_hub; the role P(llmops.fleet.llm_host#role) installs them.
  - beautifulsoup4 for V(ollama), whose library has no API.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
  - llmops.fleet.place
  - llmops.fleet.place.store
options:
  source:
    description:
      - Where to look. Default is everywhere.
      - V(docker_model_runner) is Docker Hub's namespace C(ai), V(builtin) a short list of it that needs no network.
    type: list
    elements: str
    choices: [huggingface, ollama, docker_model_runner, builtin]
  search:
    description: Words that all must stand in a model's name or tags, in any case.
    type: str
  filter:
    description:
      - Tags that a model must have, all of them, for example V(tools) or V(gguf). Each hub has words of its own.
      - Without it the Hugging Face hub is asked for V(text-generation).
    type: list
    elements: str
    default: []
  sort:
    description:
      - V(downloads) and V(likes) put most first, V(size) the smallest; what is unknown comes last.
      - V(trending) takes the hubs' own orders in turn; for Ollama and Docker Hub that is popularity.
      - The hubs know no order by V(size) and V(name); then what they name first by downloads is sorted.
    type: str
    choices: [downloads, likes, trending, size, name]
    default: downloads
  limit:
    description: How many models to give at most. Each size of a family counts.
    type: int
    default: 20
  token:
    description: A token of the Hugging Face hub; it goes nowhere else. Default is E(HF_TOKEN) of the module.
    type: str
  timeout:
    description: Seconds that each hub has in all, pages and pauses included. They are asked side by side.
    type: float
    default: 15
  cache_path:
    description: The folder of kept answers. Default is C(~/.cache/llm/catalog) of the user that runs the module.
    type: path
  cache_minutes:
    description: How long an answer is used without asking again; V(0) always asks.
    type: float
    default: 30
  memory_gb:
    description: The memory to recommend for, in GB of 10^9 bytes. Default is that of the host the module runs on.
    type: float
  huggingface_url:
    description: The base address of the Hugging Face hub. Default is E(HF_ENDPOINT), else U(https://huggingface.co).
    type: str
  ollama_url:
    description: The base address of Ollama's library.
    type: str
    default: https://ollama.com
  docker_hub_url:
    description: The base address of Docker Hub.
    type: str
    default: https://hub.docker.com
"""

EXAMPLES = r"""
- name: See what is trending on all hubs
  llmops.fleet.llm_catalog_info:
    sort: trending
  register: catalog

- name: Say which of them fit this host
  ansible.builtin.debug:
    msg: "{{ catalog.models | selectattr('recommended') | map(attribute='model_name') }}"

- name: Search Ollama's library for models that can call tools
  llmops.fleet.llm_catalog_info:
    source: [ollama]
    search: qwen
    filter: [tools]

- name: Ask once, from the controller, for the memory of a host
  llmops.fleet.llm_catalog_info:
    source: [huggingface]
    filter: [gguf]
    limit: 50
    memory_gb: "{{ ansible_facts['memtotal_mb'] * 1.048576 / 1000 }}"
  delegate_to: localhost
"""

RETURN = r"""
models:
  description: One record a model, sorted. What a hub does not say is null.
  returned: success
  type: list
  elements: dict
  contains:
    provider: {type: str, description: "The source of M(llmops.fleet.llm_model) that it is pulled from."}
    model_name: {type: str, description: "What M(llmops.fleet.llm_model) takes as its model."}
    display_name: {type: str, description: The name for people.}
    size_gb: {type: float, description: "The size of the files that are loaded, in GB of 10^9 bytes."}
    runtime: {type: str, description: An engine that serves it.}
    tags: {type: list, elements: str, description: The hub's own words for it.}
    downloads: {type: int, description: "How often it was pulled; the Hugging Face hub counts the last 30 days."}
    likes: {type: int, description: "Likes or stars; Ollama's library has none."}
    quantization: {type: str, description: "As GGUF names it, or the type of the weights."}
    parameters: {type: str, description: "The number of weights, as the name has it."}
    installed: {type: bool, description: Whether the manifest of the store has it.}
    recommended: {type: bool, description: "Whether the host is known to have at least RV(models[].ram_min_gb)."}
    ram_min_gb: {type: float, description: "The least memory, from the size of the files, else from weights and quantization."}
    ram_recommended_gb: {type: float, description: The memory with which it works well beside other programs.}
  sample:
    - provider: ollama
      model_name: "qwen2.5:7b"
      display_name: Qwen 2.5 7B
      size_gb: 4.7
      runtime: ollama
      tags: [tools]
      downloads: 21300000
      likes: null
      quantization: Q4_K_M
      parameters: 7B
      installed: false
      recommended: true
      ram_min_gb: 16.0
      ram_recommended_gb: 24.0
count:
  description: How many models there are in the answer.
  returned: success
  type: int
  sample: 1
stale:
  description: Whether a part is an answer from before or the built-in list, because a hub did not answer.
  returned: success
  type: bool
  sample: false
error:
  description: What went wrong, in one text; null where nothing did.
  returned: success
  type: str
  sample: "ollama: https://ollama.com/library could not be reached: it refused the connection. Check address, network and proxy."
errors:
  description: What went wrong, by hub.
  returned: success
  type: dict
  sample: {}
notes:
  description: Other sentences that a user should know, for example that an answer could not be kept.
  returned: success
  type: list
  elements: str
  sample: []
memory_gb:
  description: The memory that was recommended for, in GB of 10^9 bytes; null where it is unknown.
  returned: success
  type: float
  sample: 33.6
"""

from ..module_utils._ansible.argspec import PREFIX, STORE
from ..module_utils._ansible.run import run
from ..module_utils._work.catalog import CatalogTask

ARGUMENT_SPEC = {
    **PREFIX,
    **STORE,
    "source": {
        "type": "list",
        "elements": "str",
        "choices": ["huggingface", "ollama", "docker_model_runner", "builtin"],
    },
    "search": {"type": "str"},
    "filter": {"type": "list", "elements": "str", "default": []},
    "sort": {"type": "str", "choices": ["downloads", "likes", "trending", "size", "name"], "default": "downloads"},
    "limit": {"type": "int", "default": 20},
    "token": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 15},
    "cache_path": {"type": "path"},
    "cache_minutes": {"type": "float", "default": 30},
    "memory_gb": {"type": "float"},
    "huggingface_url": {"type": "str"},
    "ollama_url": {"type": "str", "default": "https://ollama.com"},
    "docker_hub_url": {"type": "str", "default": "https://hub.docker.com"},
}


def main() -> None:
    run(CatalogTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
