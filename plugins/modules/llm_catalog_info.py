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
  - Hubs are asked on the controller, once for all hosts of a task. The host only tells its memory and the models that
    it has; it needs no way to a hub, and no token gets there.
  - Answers are kept on the controller for O(cache_minutes). A hub that does not answer is told by its last answer, and
    where there never was one, the built-in list is given. The task does not fail because a hub is down.
author:
  - The llmops.fleet contributors (@llmops)
requirements:
  - On the controller, for the hubs that are asked, huggingface_hub for V(huggingface), requests for V(ollama) and
    V(docker_model_runner), beautifulsoup4 for V(ollama), whose library has no API; the collection's file
    C(requirements/catalog.txt) lists them.
  - On the host, psutil and requests; the role P(llmops.fleet.llm_host#role) installs them.
notes:
  - The action plugin of the same name asks the hubs. The module on its own asks none and returns what the host has.
  - It cannot be an C(async) task.
extends_documentation_fragment:
  - llmops.fleet.attributes
  - llmops.fleet.attributes.actiongroup_llm
  - llmops.fleet.attributes.info
  - llmops.fleet.place
  - llmops.fleet.place.store
options:
  endpoints:
    description: Addresses of the host's programs that keep models, by their names, where they are not the usual ones.
    type: dict
    default: {}
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
    description: A token of the Hugging Face hub; it goes nowhere else. Default is E(HF_TOKEN) of the controller.
    type: str
  timeout:
    description:
      - Seconds that each hub has in all, pages and pauses included. They are asked side by side.
      - A program of the host has 5 seconds at most.
    type: float
    default: 15
  cache_path:
    description: The controller's folder of kept answers. Default is C(~/.cache/llm/catalog) of the user there.
    type: path
  cache_minutes:
    description: How long an answer is used without asking again; V(0) asks in every task, once for its hosts.
    type: float
    default: 30
  memory_gb:
    description: The memory to recommend for, in GB of 10^9 bytes. Default is what the host has.
    type: float
  huggingface_url:
    description: The base address of the Hugging Face hub. Default is E(HF_ENDPOINT) of the controller, else
      U(https://huggingface.co).
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

- name: Ask for the memory that a host will have
  llmops.fleet.llm_catalog_info:
    source: [huggingface]
    filter: [gguf]
    limit: 50
    memory_gb: 96
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
    installed: {type: bool, description: "Whether the store has it, or a program of the host that keeps models."}
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
  description: Other sentences that a user should know, for example that a program of the host did not answer.
  returned: success
  type: list
  elements: str
  sample: []
memory_gb:
  description: The memory that was recommended for, in GB of 10^9 bytes; null where it is unknown.
  returned: success
  type: float
  sample: 33.6
gpu_memory_gb:
  description: The memory of all GPUs of the host, in GB of 10^9 bytes; null where it is unknown. Nothing is judged by it.
  returned: success
  type: float
  sample: null
"""

from ..module_utils._ansible.catalog_options import CATALOG
from ..module_utils._ansible.run import run
from ..module_utils._work.catalog_host import CatalogHostTask

ARGUMENT_SPEC = CATALOG


def main() -> None:
    run(CatalogHostTask, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
