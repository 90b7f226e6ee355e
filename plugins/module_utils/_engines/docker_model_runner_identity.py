# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a Docker Model Runner's models is meant, by its bytes: names move from model to model."""

from __future__ import annotations

import typing as t

from .._api.docker_model_runner import DmrModel, DmrRunning, DockerModelRunnerApi, normal_reference
from .._core.engine import Settings
from .._core.errors import LlmError


def digest_of(settings: Settings) -> str:
    return f"sha256:{settings.digest.rpartition(':')[2]}" if settings.digest else ""


def find(models: t.Sequence[DmrModel], settings: Settings) -> DmrModel | None:
    """The model with the settings' bytes, whatever it is called now; without a digest, the one of that name."""
    digest = digest_of(settings)
    if digest:
        return next((model for model in models if model.id == digest), None)
    return next((model for model in models if model.is_called(settings.model_path)), None)


def wanted(client: DockerModelRunnerApi, settings: Settings) -> DmrModel:
    models = client.models()
    model = find(models, settings)
    if model is None:
        now = next((known.id for known in models if known.is_called(settings.model_path)), "nothing")
        raise LlmError(
            "model_missing",
            f"{client.place} does not have {digest_of(settings) or settings.model_path}: {settings.model_path} is {now}.",
            remedy="Pull the model again.",
        )
    return model


def owners_of(entry: DmrRunning, models: t.Sequence[DmrModel]) -> list[DmrModel]:
    """The models that what is in memory may be of: the one that has its name, else, without a tag, any like it."""
    named = [model for model in models if model.is_called(entry.model)]
    if named or ":" in entry.model.rpartition("/")[2]:
        return named
    repository = _repository(entry.model)
    return [model for model in models if repository in [_repository(tag) for tag in model.tags]]


def _repository(name: str) -> str:
    return normal_reference(name).rpartition(":")[0]


def copies_of(client: DockerModelRunnerApi, model: DmrModel) -> list[DmrRunning]:
    models = client.models()
    return [entry for entry in client.running() if model.id in [owner.id for owner in owners_of(entry, models)]]
