# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of one model, and of a list of them."""

from __future__ import annotations


class ModuleDocFragment:
    """One model as a user asks for it; a list has the same options for each."""

    DOCUMENTATION = r"""
options:
  name:
    description: >-
      The model's name on this host; runtimes refer to it. Letters, digits, dash, underscore, dot, colon and slash.
    type: str
  source: &source
    description:
      - Where the bytes come from. V(file) is a file or folder on the host itself, V(url) an address with a checksum.
      - V(docker_model_runner), V(lm_studio) and V(ollama) are programs of the host that keep their models themselves;
        the store has a record of them only.
    type: str
    choices: [docker_model_runner, file, huggingface, lm_studio, ollama, url]
    default: huggingface
  model: &model
    description: >-
      The source's own name of the model, as C(organisation/name), C(llama3.2:3b) or C(ai/smollm2). Required for
      O(state=present) with all sources but V(file) and V(url).
    type: str
  revision: &revision
    description: >-
      Branch, tag or full commit with O(source=huggingface), V(main) by default. Only a full commit can never mean
      other bytes.
    type: str
  include: &include
    description: Patterns of files to take, such as C(*q4_k_m*.gguf). All files if empty.
    type: list
    elements: str
    default: []
  exclude: &exclude
    description: Patterns of files to leave out.
    type: list
    elements: str
    default: []
  quantization: &quantization
    description: One GGUF quantization by its name, as C(Q4_K_M), instead of O(include).
    type: str
  path: &path
    description: Absolute path of the file or folder with O(source=file).
    type: path
  from_controller: &from_controller
    description: >-
      With O(source=file), O(path) is a file or folder of the controller. It is sent only if the host does not have its
      bytes; a transfer that breaks off begins anew.
    type: bool
    default: false
  controller_files: &controller_files
    description: Names, sizes and hashes of the controller's files. Set by the action; not for users.
    type: list
    elements: dict
  controller_staging: &controller_staging
    description: Where on the host the action has put them. Set by the action; not for users.
    type: path
  placement: &placement
    description: >-
      With O(source=file), V(copy) into the store, V(link) into it (shared blocks or a hard link where the file system
      can), or V(reference) where it is and leave it there.
    type: str
    choices: [copy, link, reference]
    default: copy
  url: &url
    description: >-
      Address of the file with O(source=url). Its query and credentials are not shown in results; Ansible itself shows a
      task's arguments with C(-vvv) and in the host's journal, so give C(no_log) to a task with a signed address.
    type: str
  mirrors: &mirrors
    description: Further addresses of the same file, tried in order.
    type: list
    elements: str
    default: []
  checksum_url: &checksum_url
    description: >-
      Address of a list of checksums, as C(SHA256SUMS). Without it and O(sha256), the server's C(Repr-Digest) and
      C(<url>.sha256) are looked for.
    type: str
  sha256: &sha256
    description: What the model must hash to. For several files it is the C(sha256) of the record.
    type: str
  allow_large: &allow_large
    description: The explicit yes to a model above O(max_model_gb).
    type: bool
    default: false
  pinned: &pinned
    description: Never remove the model to make room for another one.
    type: bool
    default: false
  capabilities: &capabilities
    description: What the model can take, where the user knows better than its files. Kept apart from what was read.
    type: dict
    default: {}
  refresh: &refresh
    description: >-
      For models that a program keeps, ask the registry whether the name means something newer, without pulling.
      A branch or tag of O(source=huggingface) is always asked for.
    type: bool
    default: false
  verify: &verify
    description: >-
      Which bytes that a program keeps are hashed, where its folder can be read. V(new) is those that this pull may
      have written.
    type: str
    choices: [never, new, always]
    default: new
  transfer: &transfer
    description: With O(source=huggingface), V(xet) lets the hub's client bring the files; they are proven all the same.
    type: str
    choices: [http, xet]
    default: http
  insecure: &insecure
    description: With O(source=ollama), reach the registry by plain http.
    type: bool
    default: false
  create: &create
    description: >-
      With O(source=ollama), make the model on the host instead of pulling it. C(path) is a GGUF file, or C(from) another
      model; C(system), C(template) and C(parameters) as in a Modelfile.
    type: dict
    default: {}
  models_path: &models_path
    description: Folder where the program keeps its models, if it is not the usual one.
    type: path
  executable: &executable
    description: The program's command, used where its port does not answer.
    type: str
  endpoint: &endpoint
    description: >-
      Address of the hub, for a mirror, or of the program that keeps the model; C(unix:///path) for a socket. Default is
      E(HF_ENDPOINT) on the host and then the public hub, or the program's own port on this host.
    type: str
  token: &token
    description:
      - Access token. It is sent to the hub, program or first address only and never shown.
      - To remove a model of a program that asks for a token, name its O(source) as well.
    type: str
  username: &username
    description: Name for O(source=url).
    type: str
  password: &password
    description: Password for O(source=url).
    type: str
  models:
    description: >-
      A list of models, instead of a single one by the options above. The options O(endpoint) and O(token) above a list
      are those of the hub.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      source: *source
      model: *model
      revision: *revision
      include: *include
      exclude: *exclude
      quantization: *quantization
      path: *path
      from_controller: *from_controller
      controller_files: *controller_files
      controller_staging: *controller_staging
      placement: *placement
      url: *url
      mirrors: *mirrors
      checksum_url: *checksum_url
      sha256: *sha256
      allow_large: *allow_large
      pinned: *pinned
      capabilities: *capabilities
      refresh: *refresh
      verify: *verify
      transfer: *transfer
      insecure: *insecure
      create: *create
      models_path: *models_path
      executable: *executable
      endpoint: *endpoint
      token: *token
      username: *username
      password: *password
"""
