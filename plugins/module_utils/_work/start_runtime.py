# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a runtime serve what was asked, and prove it: keep, heal, wake or activate, whichever it needs."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._core.decision import ACTIVATE, HEAL, KEEP, NOTE, RESTART, STOP_OTHERS, WAKE, Decision, decide
from .._core.engine import SLEEPING, Engine
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.outcome import Outcome
from .._core.runtime import RuntimeSpec, check_exposure, check_options, complete
from .._core.status import judge, phase
from .._host.configuration import Configuration
from .activate import Activation
from .check_fit import check_fit
from .check_names import foresee_names
from .freed_memory import ending
from .other_runtimes import OtherRuntimes
from .port_strangers import adopted, clear_the_port
from .prove import Proven
from .runtime_place import settings_of
from .runtime_report import differences_of, foreseen, outcome_of
from .runtime_subject import Subject
from .side import Side, side_of
from .wanted_runtime import Wanted, api_key_in, check_served_names, want


def start(subject: Subject, *, check_mode: bool) -> Outcome:
    """Bring the runtime up as asked; what was not asked stays as it is."""
    return _Start(adopted(subject), check_mode).run()


class _Start:
    def __init__(self, subject: Subject, check_mode: bool) -> None:
        self._subject = subject
        self._check_mode = check_mode
        self._notes: list[str] = []

    def run(self) -> Outcome:
        subject = self._subject
        engine = subject.engine()
        spec = complete(subject.name, subject.params, subject.remembered, engine.default_port, resident=engine.resident)
        check_options(spec, engine.option_types)
        check_served_names(spec, engine, subject.layout, subject.store)
        try:
            wanted = want(spec, engine, subject.params, subject.place, subject.store, subject.active)
        except LlmError as failure:
            # A model or engine that an earlier task of this very run would have brought is no failure yet.
            if self._check_mode and failure.reason in ("model_missing", "engine_missing"):
                return foreseen(subject, spec)
            raise
        return self.bring(wanted, engine)

    def bring(self, wanted: Wanted, engine: Engine) -> Outcome:
        """What is wanted is known and possible: decide what it takes, and do it."""
        subject = self._subject
        ours = subject.place.supervisor.name != "external"
        has_key = bool(api_key_in(wanted.files.secrets, engine))
        check_exposure(wanted.spec, has_key=has_key, everywhere=ours and engine.listens_everywhere)
        before = subject.place.files.read()
        decision = self._decide(wanted, before, engine)
        ended: list[str] = []
        if wanted.spec.exclusive:
            self._notes += OtherRuntimes(subject.layout, subject.name).going_on()
        if decision.action == ACTIVATE:
            self._notes += check_fit(wanted, engine, subject)
            foresee_names(Side(wanted.candidate, subject.place, engine))
        if decision.action in (ACTIVATE, HEAL, RESTART):
            leaving = [side_of(subject.active, subject.layout)] if subject.active else []
            subject.place.supervisor.check_start(subject.place.service, besides=ending(leaving))
        if decision.action in (ACTIVATE, HEAL) and subject.place.supervisor.name != "external":
            wish = str(subject.params["on_stranger"])
            others = OtherRuntimes(subject.layout, subject.name)
            ended = clear_the_port(
                wanted.spec,
                subject.place,
                wish,
                check_mode=self._check_mode,
                serving=subject.active,
                stopped=others.running(wanted.candidate) if wanted.spec.exclusive else (),
            )
            self._notes += ended
        differences = differences_of(subject, before, wanted, decision)
        if self._check_mode:
            return outcome_of(subject, decision, differences, wanted, None, [], notes=self._notes)
        activation = subject.activation()
        try:
            decision, proven = self._act(activation, decision, wanted, engine)
        except LlmError as failure:
            if ended:
                told = [*ended, *failure.details.get("notes", ())]
                failure.details = {**failure.details, "changed": True, "notes": told}
            raise
        notes = [*self._notes, *activation.notes]
        return outcome_of(subject, decision, differences, wanted, proven, activation.steps, engine, notes=notes)

    # --- doing ---

    def _act(
        self, activation: Activation, decision: Decision, wanted: Wanted, engine: Engine
    ) -> tuple[Decision, Proven]:
        if decision.action in (KEEP, NOTE, STOP_OTHERS):
            if decision.action != KEEP:
                self._note(wanted)
            serving = self._remembered(wanted)
            try:
                if decision.action == STOP_OTHERS:
                    return decision, activation.make_room(serving)
                proven = activation.prove(serving)
            except LlmError as failure:
                # It runs as it should and cannot prove it: that is healed by a restart.
                decision = Decision(HEAL, failure.what)
            else:
                # When it was proven last is no change of the host.
                self._subject.place.generations.write(proven.generation)
                return decision, proven
        if decision.action == ACTIVATE:
            return decision, activation.activate(wanted.candidate, wanted.files, self._subject.active, wanted.spec)
        return decision, self._mend(activation, decision, self._remembered(wanted), wanted.spec, engine)

    def _mend(
        self, activation: Activation, decision: Decision, serving: Generation, spec: RuntimeSpec, engine: Engine
    ) -> Proven:
        """Wake it, or start it anew; the configuration stays."""
        try:
            if decision.action == WAKE:
                return activation.wake(serving)
            anew = decision.action != HEAL or not engine.resident
            return activation.restart(serving, spec, anew=anew, drain=decision.action == RESTART)
        except LlmError as failure:
            if failure.reason == "drain_timeout":
                raise
            ours = self._subject.place.supervisor.name != "external"
            tried = "was restarted and does not serve" if ours else "does not serve, and somebody else runs it"
            raise LlmError(
                failure.reason,
                f"Runtime {self._subject.name} {tried}: {failure.what}",
                remedy=failure.remedy if ours else "Restart it where it is run.",
                **{**failure.details, "steps": activation.steps, "changed": True},
            ) from None

    def _note(self, wanted: Wanted) -> None:
        """Remember how it is to be proven and judged from now on; nothing that runs differs."""
        self._subject.place.generations.write(self._remembered(wanted))

    def _remembered(self, wanted: Wanted) -> Generation:
        return replace(self._subject.serving(), spec=wanted.candidate.spec)

    # --- deciding ---

    def _decide(self, wanted: Wanted, before: Configuration, engine: Engine) -> Decision:
        subject = self._subject
        active = subject.active
        if before != wanted.files or active is None or active.fingerprint != wanted.candidate.fingerprint:
            return Decision(ACTIVATE)
        seen = subject.place.observe(active, engine, settings_of(active), wanted.spec.port)
        others = OtherRuntimes(subject.layout, subject.name).running(active) if wanted.spec.exclusive else ()
        return decide(
            differs=False,
            process=seen.process,
            enabled=subject.place.supervisor.enabled(subject.name),
            asleep=phase(seen) == SLEEPING,
            verdict=judge(seen),
            restart=subject.params["state"] == "restarted",
            noted=_is_noted(active.spec, wanted.candidate.spec),
            others=others,
        )


def bring(subject: Subject, wanted: Wanted, engine: Engine, *, check_mode: bool) -> Outcome:
    """Have a generation serve that is known already."""
    return _Start(subject, check_mode).bring(wanted, engine)


def _is_noted(known: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> bool:
    """Whether what is remembered is what is wanted; a record of an older release lacks what it had no word for."""
    return all(known[key] == value for key, value in wanted.items() if key in known)
