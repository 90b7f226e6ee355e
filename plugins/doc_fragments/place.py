# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say where things lie on a host."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  prefix:
    description:
      - A folder that the whole tree stands below, as with C(DESTDIR).
      - Without it the tree is C(/opt/llm), C(/var/lib/llm), C(/etc/llm), C(/var/log/llm) and C(/run/llm) as root,
        and stands in the user's home otherwise.
    type: path
"""

    STORE = r"""
options:
  store:
    description: The folder of the models. Default is C(models) in the state folder, C(/var/lib/llm/models) as root.
    type: path
"""
