# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.environment_file import render
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._host.keeper import expand, parse_environment
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
VALUES = st.text(
    st.characters(blacklist_characters="\n\r\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", blacklist_categories=["Cs"])
)


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read_again(variables: dict[str, str]) -> None:
    assert parse_environment(render(variables, "heading")) == variables


@pytest.mark.parametrize("variables", [{"A": "x\ny"}, {"A-B": "x"}, {"1A": "x"}, {"A": "x\0"}])
def test_what_cannot_be_written_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(LlmError):
        render(variables, "heading")


def test_words_stay_words() -> None:
    words = ["--alias", "${NAMES}", "$$HOME", "x${A}y", "${MISSING}"]
    assert expand(words, {"NAMES": "a b", "A": "$A"}) == ["--alias", "a b", "$HOME", "x$Ay", ""]
