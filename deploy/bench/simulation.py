"""A platform in simulated time: readings whose true probabilities are known, moderators who err, and the real loop.

What routes is `Gate.route_table`, what moves the gates is `calibration.loop.advance`; only readings, verdicts and the
clock are simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gate import Gate
from calibration.loop.advance import advance, first_rollout, looks_back_to
from calibration.loop.evidence import AuditTable, Evidence, TrafficTable, moment
from calibration.loop.settings import LoopSettings
from calibration.outcome import Reader
from calibration.policy import Policy, Stage
from calibration.rollout import Rollout, StepKind
from calibration.table import Bools, Floats, OutcomeTable, SignalTable, Texts, Times

START = datetime(2026, 1, 1, tzinfo=UTC)
READER = Reader(model="simulated", prompt="1", decoder="1")
LABELS = np.array(["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"], np.object_)


@dataclass(frozen=True)
class World:
    """How readings come about. Logits of being right are normal; both signals say them with noise of their own."""

    mean: float = 2.2
    spread: float = 1.8
    noise: float = 0.7
    """Of the label's token, in logits,"""
    verbal_noise: float = 1.5
    """and of the confidence that the model writes, which is also too high."""
    drift: float = 0.0
    """Probability with which a reading of the zone is wrong all the same, once the world has drifted."""
    zone: Gate | None = None
    """The zone: what this gate passes. No signal shows the drift, and nothing that a person sees anyway has it."""

    def readings(self, rng: np.random.Generator, n: int) -> tuple[SignalTable, Floats]:
        """n readings, and the true probability that each is right."""
        logit = rng.normal(self.mean, self.spread, n)
        token = _sigmoid(logit + rng.normal(0.0, self.noise, n))
        verbal = _sigmoid(0.5 * logit + 1.0 + rng.normal(0.0, self.verbal_noise, n))
        right = _sigmoid(logit)
        signals = SignalTable(
            label=LABELS[rng.integers(0, len(LABELS), n)],
            source=np.full(n, "", np.object_),
            parsed=rng.random(n) > 0.01,
            verbal_confidence=np.round(verbal, 2),
            label_probability=token,
            label_margin=2.0 * token - 1.0,
            label_entropy=-(token * np.log(token) + (1.0 - token) * np.log1p(-token)),
        )
        if self.zone is not None:
            right = np.where(self.zone.route_table(signals).passes, right * (1.0 - self.drift), right)
        return signals, right


@dataclass(frozen=True)
class Moderators:
    """How verdicts come about."""

    delay: timedelta = timedelta(hours=6)
    """Mean time until an answer; exponential."""
    error: float = 0.0
    """Probability that a verdict is the wrong way round."""
    answering: float = 1.0
    """Share of the reviews that are ever answered."""


@dataclass
class _Log:
    """Everything that happened, in columns; one chunk for each tick."""

    chunks: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    signals: list[SignalTable] = field(default_factory=list)

    def column(self, name: str) -> NDArray[Any]:
        """Of all ticks."""
        return np.concatenate([chunk[name] for chunk in self.chunks])

    def table(self) -> SignalTable:
        return SignalTable(
            **{
                name: np.concatenate([getattr(chunk, name) for chunk in self.signals])
                for name in SignalTable.__dataclass_fields__
            }
        )


class Platform:
    """A platform over time. Call `tick` again and again; `world` and `moderators` may be changed in between.

    Args:
        audits: without them nothing that passes is ever seen by a person; the rest of the loop is the same.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        world: World | None = None,
        moderators: Moderators | None = None,
        settings: LoopSettings | None = None,
        audits: bool = True,
        seed: int = 0,
    ) -> None:
        self.policy = policy
        self.world = world or World()
        self.moderators = moderators or Moderators()
        self.settings = settings or LoopSettings()
        self.audits = audits
        self.now = START
        self.rollout: Rollout = first_rollout(policy, START)
        self.reader = READER
        self.passed = 0
        self.errors = 0
        """Of what passed, by the true probabilities: expected wrong ones, rounded to what was drawn."""
        self.events = 0
        self._rng = np.random.default_rng(seed)
        self._log = _Log()
        self._columns: tuple[int, SignalTable, dict[str, NDArray[Any]]] | None = None

    def tick(self, n: int, length: timedelta = timedelta(hours=6)) -> list[StepKind]:
        """n events come in and are routed; then the loop takes all the steps that it can. Returns them."""
        self._route(n, length)
        self.now += length
        return self.advance()

    def advance(self) -> list[StepKind]:
        """Take all the steps that can be taken now."""
        taken: list[StepKind] = []
        while True:
            evidence = self.evidence(looks_back_to(self.rollout, self.now, self.settings))
            after = advance(self.rollout, self.policy, evidence, self.now, self.settings)
            if after is None:
                return taken
            self.rollout = after
            taken.append(after.steps[-1].kind)

    def _route(self, n: int, length: timedelta) -> None:
        rng = self._rng
        signals, right = self.world.readings(rng, n)
        decided = moment(self.now) + np.sort(rng.integers(0, int(length.total_seconds() * 1e6), n)).astype(
            "timedelta64[us]"
        )
        rollout = self.rollout
        live = rollout.live.in_force(self.reader, self.now)
        candidate = rollout.candidate
        share = 0.0
        if candidate is not None and candidate.stage is Stage.CANARY:
            share = self.policy.canary_share
        candidate = None if candidate is None else candidate.in_force(self.reader, self.now)
        by_candidate = rng.random(n) < share
        passes = np.zeros(n, np.bool_)
        auditable, rate, floor = np.zeros(n, np.bool_), np.zeros(n), np.zeros(n)
        gate, calibrator = np.full(n, "", np.object_), np.full(n, "", np.object_)
        shadow_gate, shadow_passed = np.full(n, "", np.object_), np.zeros(n, np.bool_)
        for rows, each in ((~by_candidate, live), (by_candidate, candidate)):
            if each is None or not rows.any():
                continue
            routed = each.route_table(signals.take(rows))
            passes[rows], auditable[rows] = routed.passes, routed.auditable
            rate[rows], floor[rows] = each.audit_rate, each.audit_floor
            gate[rows], calibrator[rows] = each.gate_id, each.calibrator_version
        if candidate is not None:
            rows = ~by_candidate
            shadow_gate[rows] = candidate.gate_id
            shadow_passed[rows] = candidate.route_table(signals.take(rows)).passes
        drawn = auditable & (rng.random(n) < rate)
        if not self.audits:
            drawn &= ~passes
        correct = rng.random(n) < right
        self.passed += int((passes & ~drawn).sum())
        self.errors += int((passes & ~drawn & ~correct).sum())
        answered = (drawn | ~passes) & (rng.random(n) < self.moderators.answering)
        delay = rng.exponential(self.moderators.delay.total_seconds() * 1e6, n).astype("timedelta64[us]")
        said = correct ^ (rng.random(n) < self.moderators.error)
        self._log.signals.append(signals)
        self._log.chunks.append(
            {
                "event_id": np.array([f"e{self.events + row}" for row in range(n)], np.object_),
                "decided_at": decided,
                "given_at": np.where(answered, decided + delay, np.datetime64("NaT", "us")),
                "said": said,
                "right": right,
                "passes": passes,
                "drawn": drawn,
                "rate": rate,
                "floor": floor,
                "gate": gate,
                "calibrator": calibrator,
                "shadow_gate": shadow_gate,
                "shadow_passed": shadow_passed,
            }
        )
        self.events += n

    def _everything(self) -> tuple[SignalTable, dict[str, NDArray[Any]]]:
        if self._columns is None or self._columns[0] != self.events:
            names = self._log.chunks[0]
            self._columns = self.events, self._log.table(), {name: self._log.column(name) for name in names}
        return self._columns[1], self._columns[2]

    def evidence(self, since: datetime) -> Evidence:
        """What the ledger would hold now."""
        signals, columns = self._everything()
        at: Times = columns["decided_at"]
        rows = at >= moment(since)
        answered = rows & (columns["given_at"] <= moment(self.now))
        return Evidence(
            reader=self.reader,
            outcomes=self._outcomes(signals, columns, answered),
            audits=self._audits(signals, columns, rows & columns["drawn"], answered),
            traffic=TrafficTable(
                signals=signals.take(rows),
                gate=columns["gate"][rows],
                passed=columns["passes"][rows],
                shadow_gate=columns["shadow_gate"][rows],
                shadow_passed=columns["shadow_passed"][rows],
                decided_at=at[rows],
            ),
        )

    def _outcomes(self, signals: SignalTable, columns: dict[str, NDArray[Any]], rows: Bools) -> OutcomeTable:
        drawn, passes, rate = columns["drawn"][rows], columns["passes"][rows], columns["rate"][rows]
        return OutcomeTable(
            event_id=columns["event_id"][rows],
            signals=signals.take(rows),
            correct=columns["said"][rows],
            propensity=np.where(drawn & passes, rate, 1.0),
            audit_propensity=np.where(drawn, rate, np.nan),
            decided_at=columns["decided_at"][rows],
        )

    def _audits(
        self,
        signals: SignalTable,
        columns: dict[str, NDArray[Any]],
        rows: Bools,
        answered: Bools,
    ) -> AuditTable:
        names: Texts = columns["event_id"][rows]
        return AuditTable(
            event_id=names,
            signals=signals.take(rows),
            gate=columns["gate"][rows],
            calibrator=columns["calibrator"][rows],
            would_pass=columns["passes"][rows],
            rate=columns["rate"][rows],
            floor=columns["floor"][rows],
            answered=answered[rows],
            wrong=answered[rows] & ~columns["said"][rows],
            decided_at=columns["decided_at"][rows],
            given_at=np.where(answered[rows], columns["given_at"][rows], np.datetime64("NaT", "us")),
        )

    def answer_everything(self) -> None:
        """Moderators are back: all that was drawn and never answered is answered now, and so is what comes."""
        self.moderators = Moderators()
        for chunk in self._log.chunks:
            open_ = np.isnat(chunk["given_at"]) & (chunk["drawn"] | ~chunk["passes"])
            chunk["given_at"] = np.where(open_, moment(self.now), chunk["given_at"])
        self._columns = None

    def drifted(self, drift: float) -> None:
        """From now on what the newest gate passes is wrong with this probability, and no signal shows it."""
        self.world = replace(self.world, drift=drift, zone=self.rollout.candidate or self.rollout.live)

    def true_error(self, seed: int = 1, n: int = 200_000) -> tuple[float, float]:
        """Of what the live gate passes of the world as it is now: coverage, and expected error."""
        signals, right = self.world.readings(np.random.default_rng(seed), n)
        passes = self.rollout.live.in_force(self.reader, self.now).route_table(signals).passes
        return float(passes.mean()), float(1.0 - right[passes].mean()) if passes.any() else 0.0


def _sigmoid(logit: Floats) -> Floats:
    value: Floats = 1.0 / (1.0 + np.exp(-logit))
    return value
