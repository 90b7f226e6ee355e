# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection say about themselves, once."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details: This module only looks; it never changes the host.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: N/A
    details: This module does not change state.
"""

    ACTIONGROUP_LLM = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/llmops.fleet.llm) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - llmops.fleet.llm
"""
