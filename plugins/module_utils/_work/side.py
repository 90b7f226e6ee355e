# SPDX-License-Identifier: GPL-3.0-or-later
"""One side of an activation: a generation with the place and the engine that serve it, the old ones or the new ones."""

from __future__ import annotations

from dataclasses import dataclass

from .._core.engine import READY, Endpoint, Engine, Settings
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.layout import Layout
from .._core.supervisor import Process
from .._engines.registry import engine_named
from .runtime_place import RuntimePlace, place_of, settings_of


@dataclass(frozen=True)
class Side:
    """Made of a generation's record alone, so that both sides are known also after a kill."""

    generation: Generation
    place: RuntimePlace
    engine: Engine

    @property
    def settings(self) -> Settings:
        return settings_of(self.generation)

    @property
    def endpoint(self) -> Endpoint:
        return self.place.endpoint(self.engine, self.settings)

    @property
    def process(self) -> Process:
        """As it is now."""
        return self.place.supervisor.process(self.place.name)

    def is_elsewhere(self, other: Side) -> bool:
        """Whether another program serves it, so that nothing of the one can be taken over by the other."""
        if self.engine.name != other.engine.name or self.place.supervisor.name != other.place.supervisor.name:
            return True
        moved = (self.settings.host, self.settings.port) != (other.settings.host, other.settings.port)
        return moved and self.place.supervisor.name == "external"

    def has_faults(self) -> bool:
        """Whether a program that stays up holds what it should not: that goes with its process."""
        try:
            return self.engine.resident and bool(self.engine.served(self.endpoint, self.settings).faults)
        except LlmError:
            return False

    def leave(self) -> None:
        """Have nothing of it run or start at boot, and nothing of it in a program that goes on."""
        try:
            self.release(())
        finally:
            self.place.supervisor.stop(self.place.service)
            self.place.files.definition.unlink(missing_ok=True)
            self.place.supervisor.reload()

    def release(self, kept_names: tuple[str, ...]) -> None:
        """Have a program that stays up give back the model and the names that it keeps for this, but for some."""
        if not self.engine.resident or not self.settings.model_path or not self.process.active:
            return
        if self.engine.health(self.endpoint).state != READY:
            return
        try:
            self.engine.release(self.endpoint, self.settings, kept_names)
        except LlmError:
            # What a program of ours will not let go of goes with its process.
            if self.place.supervisor.name == "external":
                raise


def side_of(generation: Generation, layout: Layout) -> Side:
    return Side(generation, place_of(generation, layout), engine_named(generation.engine))
