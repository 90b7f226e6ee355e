# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.secret_name import is_secret_name


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "api_keys", "--api-key", "apiKey", "APIKey", "apikey", "X-Api-Key", "OPENAI_API_KEY", "API_KEY_2",
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "JENKINS_TOKEN", "session_token", "login-token", "hfToken", "HFToken",
        "accesstoken", "token", "token1", "key", "master_key", "client_secret", "dbPassword", "dbpassword", "PGPASSWORD",
        "Authorization", "Proxy-Authorization", "X-Amz-Signature", "sig", "vault.credentials", "max_password", "n_secrets",
        "pass", "--pass", "DB_PASS", "dbPass", "GITLAB_PAT", "pat", "JWT", "X-JWT", "Cookie", "Set-Cookie", "cookies",
        "PER_USER_TOKEN", "INPUT_TOKENS_KEY", "MAX_TOKENS_TOKEN", "MODEL_TOKEN", "USER_TOKENS", "NEW_TOKEN", "BATCH_KEY",
    ],
)  # fmt: skip
def test_it_is_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "-", "port", "tokenizer", "TOKENIZERS_PARALLELISM", "keys", "keyboard", "monkey", "author", "max_tokens",
        "max-num-batched-tokens", "prompt_tokens", "prompt_tokens_details", "tokens_predicted", "tokens_per_second",
        "eos_token", "eos_token_id", "prompt_token_ids", "num_key_value_heads", "llama.attention.key_length",
        "token_embd.weight", "api_key_file", "token_type", "AWS_ACCESS_KEY_ID", "preserved_tokens", "LLM_MODEL_PATH",
        "bypass", "compass", "compat", "path", "PATH", "pattern", "patch", "pass-through", "pass_rate", "passes",
        "jwt_algorithm", "cookie_path", "max_user_tokens", "n_tokens_all", "special_tokens_map.json", "usage.total_tokens",
        "token_per_second",
    ],
)  # fmt: skip
def test_it_is_none(name: str) -> None:
    assert not is_secret_name(name)
