"""The loop on the running system: ledger in, `gates` out. One instance for each cluster.

It keeps no state of its own: policies and rollouts are on their topics, outcomes in the ledger. So it may be killed at
any moment, started anew, or run once an hour by a scheduler. While it is away nobody renews the gates: they expire.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from threading import Event
from typing import TypeVar

import structlog
from kafka.errors import KafkaError
from pydantic import BaseModel, ValidationError

from calibration.ledger.erasure import expire
from calibration.ledger.following import sync
from calibration.ledger.place import LedgerError, LedgerUnavailableError
from calibration.ledger.reading import Ledger
from calibration.ledger.store import storage_failures
from calibration.ledger.topic import publish, read_latest
from calibration.loop.advance import advance, first_rollout, known_reader, looks_back_to
from calibration.loop.evidence import Evidence, EvidenceSource
from calibration.loop.settings import LoopSettings
from calibration.loop.watching import drifts
from calibration.policy import Policy
from calibration.rollout import Rollout, StepKind
from calibration.settings import KafkaSettings, LedgerSettings, TopicName
from calibration.watch.drift import DriftLevel

log = structlog.get_logger()

_Document = TypeVar("_Document", bound=BaseModel)
_MOST_STEPS = 8
"""Of one taxonomy in one look; more would mean that two of them undo each other."""
_LONGEST_PAUSE_S = 60.0


class UnreadableRecordError(Exception):
    """A record that is no such document. What is written there by hand or by a newer version is never overwritten."""


class GatesChangedError(Exception):
    """Somebody else has written a step since this look began."""


@dataclass(frozen=True)
class Look:
    """What one look at everything led to: for each taxonomy the rollout, and how many steps it took."""

    rollouts: dict[str, Rollout]
    steps: dict[str, int]
    failed: list[str]
    """Taxonomies that were left where they are; the log says why."""


class CalibrationService:
    """Looks at everything, again and again. For one thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        ledger: LedgerSettings,
        settings: LoopSettings,
        *,
        syncing: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`syncing`: bring the ledger up to date before each look; not needed beside `tidegate ledger run`."""
        self._kafka = kafka
        self._ledger = ledger
        self._settings = settings
        self._syncing = syncing
        self._now = now
        self._let_go_on: date | None = None
        self._warned: dict[str, frozenset[str]] = {}

    def run(self, stop: Event) -> None:
        """Look until asked to stop. Outages of Kafka and of the ledger's storage are waited out, and said.

        Raises:
            LedgerError, TopicGapError: the ledger cannot go on by itself.
        """
        pause = self._settings.tick_s
        while not stop.is_set():
            try:
                self.look()
                pause = self._settings.tick_s
            except (KafkaError, LedgerUnavailableError, *storage_failures()) as error:
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                log.warning("calibration waits", error=repr(error), again_in_s=pause)
            stop.wait(pause)

    def look(self) -> Look:
        """Take every step that can be taken now.

        Raises:
            kafka.errors.KafkaError, OSError, deltalake.exceptions.DeltaError: Kafka or the storage failed; look again.
            LedgerError, TopicGapError: the ledger cannot go on by itself.
        """
        policies = documents(self._kafka, "policies", Policy)
        if not policies:
            log.info("no policy", note="publish one with `tidegate calibrate policy FILE`; nothing passes until then")
            return Look({}, {}, [])
        if self._syncing:
            sync(self._kafka, self._ledger)
        self._let_go(policies.values())
        ledger = Ledger.open(self._ledger)
        rollouts = documents(self._kafka, "gates", Rollout)
        seen = Look({}, {}, [])
        for taxonomy, policy in policies.items():
            found = rollouts.get(taxonomy)
            if isinstance(policy, UnreadableRecordError) or isinstance(found, UnreadableRecordError):
                unreadable = found if isinstance(found, UnreadableRecordError) else policy
                log.error("taxonomy left alone", taxonomy=taxonomy, error=str(unreadable))
                seen.failed.append(taxonomy)
                continue
            try:
                seen.rollouts[taxonomy], seen.steps[taxonomy] = self._advance(taxonomy, policy, found, ledger)
            except GatesChangedError as error:
                log.info("looking again", taxonomy=taxonomy, note=str(error))
            except (KafkaError, LedgerError, *storage_failures()):
                raise  # concerns all of them
            except Exception:  # whatever this one brings out, the gates of the others must be watched
                log.exception("taxonomy failed", taxonomy=taxonomy, note="its gates are not renewed, and expire")
                seen.failed.append(taxonomy)
        return seen

    def _advance(
        self, taxonomy: str, policy: Policy, rollout: Rollout | None, ledger: EvidenceSource
    ) -> tuple[Rollout, int]:
        steps = 0
        if rollout is None:
            rollout = first_rollout(policy, self._now())
            publish_step(self._kafka, None, rollout)
            steps = 1
        while True:
            started = time.monotonic()
            since = looks_back_to(rollout, self._now(), self._settings)
            evidence = ledger.evidence(taxonomy, ledger.reader(taxonomy) or known_reader(rollout), since)
            after = advance(rollout, policy, evidence, self._now(), self._settings)
            if after is None:
                self._warn_of_drift(rollout, evidence)
                log.debug("looked", taxonomy=taxonomy, seconds=round(time.monotonic() - started, 3))
                return rollout, steps
            if steps == _MOST_STEPS:
                log.error("too many steps in one look", taxonomy=taxonomy, next=after.steps[-1].kind.value)
                return rollout, steps
            publish_step(self._kafka, rollout, after)
            rollout, steps = after, steps + 1

    def _let_go(self, policies: Iterable[Policy | UnreadableRecordError]) -> None:
        """Once a day, what is older than every policy keeps."""
        today = self._now().date()
        if today == self._let_go_on or any(isinstance(policy, UnreadableRecordError) for policy in policies):
            return
        days = max(policy.retention_days for policy in policies if isinstance(policy, Policy))
        removed = expire(self._ledger, days, self._now())
        self._let_go_on = today
        log.info("ledger expired", older_than_days=days, removed=removed)

    def _warn_of_drift(self, rollout: Rollout, evidence: Evidence) -> None:
        found = {drift.name: drift for drift in drifts(rollout.live, evidence.traffic)}
        serious = frozenset(name for name, drift in found.items() if drift.level is DriftLevel.WARNING)
        for name in serious - self._warned.get(rollout.taxonomy, frozenset()):
            log.warning(
                "drift", taxonomy=rollout.taxonomy, what=found[name].words, psi=round(found[name].psi, 3),
                note="a warning, never proof: the audits decide",
            )  # fmt: skip
        self._warned[rollout.taxonomy] = serious


def publish_step(kafka: KafkaSettings, before: Rollout | None, after: Rollout) -> None:
    """Write a step, unless somebody else has written one since `before` was read.

    Raises:
        GatesChangedError: somebody has: nothing was written, and the next step begins from theirs.
        kafka.errors.KafkaError: it may not be durable.
    """
    present = documents(kafka, "gates", Rollout).get(after.taxonomy)
    if present != before:
        raise GatesChangedError(
            f"{after.taxonomy}: somebody else has changed its gates in the meantime, so nothing was written; look again"
        )
    publish_rollout(kafka, after)


def publish_rollout(kafka: KafkaSettings, rollout: Rollout) -> None:
    """Write a rollout for the workers to follow, and log its newest step.

    Raises:
        kafka.errors.KafkaError: it may not be durable.
    """
    publish(kafka, "gates", rollout.taxonomy, rollout.model_dump_json().encode())
    step = rollout.steps[-1]
    alarming = step.kind in (StepKind.SHUT, StepKind.ROLLED_BACK, StepKind.EXPIRED)
    (log.warning if alarming else log.info)(
        "gate step",
        taxonomy=rollout.taxonomy,
        sequence=rollout.sequence,
        step=step.kind.value,
        gate_id=step.gate_id,
        reasons=list(step.reasons),
    )


def documents(
    kafka: KafkaSettings, topic: TopicName, kind: type[_Document]
) -> dict[str, _Document | UnreadableRecordError]:
    """The newest document of each key of a compacted topic; in the place of one that cannot be read, why.

    Raises:
        kafka.errors.KafkaError: the topic cannot be read.
    """
    found: dict[str, _Document | UnreadableRecordError] = {}
    for key, (offset, value) in read_latest(kafka, topic).items():
        try:
            found[key] = kind.model_validate_json(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            found[key] = UnreadableRecordError(
                f"the record of {key!r} at offset {offset} of {kafka.topic(topic)} is no {kind.__name__.lower()} that "
                f"this version can read ({where}: {first['msg']})"
            )
    return found
