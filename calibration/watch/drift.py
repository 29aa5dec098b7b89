"""Whether what comes in has changed: scores, signals, the mix of labels and sources.

A warning, never proof. A shifted mix may leave the error where it was, and an error may double behind signals that
look as ever: only audits tell (`calibration.watch.monitor`). So nothing here shuts or opens a gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov
from scipy.stats import chi2

from calibration.table import Bools, Floats, SignalTable, Texts

BINS = 10
WATCH, WARNING = 0.1, 0.25
"""Of the population stability index: the customary marks of credit scoring (Siddiqi 2006)."""
KS_WATCH, KS_WARNING = 0.1, 0.2
"""Of the largest distance between the two cumulative distributions."""
_CHANCE = 0.001
"""What chance alone reaches less often than this is more than chance."""
SIGNALS = ("verbal_confidence", "label_probability", "label_margin", "label_entropy", "agreement")


class DriftLevel(StrEnum):
    """How much of a change it is."""

    STEADY = "steady"
    WATCH = "watch"
    WARNING = "warning"
    TOO_FEW = "too_few"  # to tell a change from chance


@dataclass(frozen=True, slots=True)
class Drift:
    """How one quantity changed between a reference and the newest events."""

    name: str
    psi: float
    """Population stability index: sum of (new - old) * log(new / old) over the bins; missing values are one of them."""
    ks: float | None
    """Largest distance of the cumulative distributions, 0 to 1; None for labels and sources."""
    chance: float
    """PSI that chance alone exceeds once in a thousand times, with so many events."""
    level: DriftLevel
    words: str
    """What changed, for a person."""


def drift_of_numbers(name: str, old: Floats, new: Floats) -> Drift:
    """Compare two samples of one number, shapes (n,) and (m,); nan is a missing value.

    Bins are tenths of the reference, so that each holds as much of it (ties share a bin).
    """
    known_old, known_new = old[~np.isnan(old)], new[~np.isnan(new)]
    edges = np.unique(np.quantile(known_old, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known_old) else np.empty(0)

    def counts(values: Floats, known: Floats) -> NDArray[np.intp]:
        binned = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
        return np.append(binned, len(values) - len(known))

    before, after = counts(old, known_old), counts(new, known_new)
    ks, surprising = _kolmogorov_smirnov(known_old, known_new)
    return _judge(name, before, after, ks, surprising, _words_of_numbers(name, known_old, known_new, before, after))


def drift_of_texts(name: str, old: Texts, new: Texts) -> Drift:
    """Compare the mixes of two samples of labels or sources, shapes (n,) and (m,)."""
    values, codes = np.unique(np.concatenate([old, new]).astype(str), return_inverse=True)
    before = np.bincount(codes[: len(old)], minlength=len(values))
    after = np.bincount(codes[len(old) :], minlength=len(values))
    change = after / max(1, len(new)) - before / max(1, len(old))
    most = int(np.argmax(np.abs(change))) if len(values) else 0
    words = ""
    if len(values):
        shares = before[most] / max(1, len(old)), after[most] / max(1, len(new))
        words = f"{name}: {values[most] or '(none)'} went from {shares[0]:.1%} to {shares[1]:.1%}"
    return _judge(name, before, after, None, False, words)


def drift_of_signals(
    old: SignalTable, new: SignalTable, old_score: Floats | None = None, new_score: Floats | None = None
) -> tuple[Drift, ...]:
    """All of it: scores (where given, both of one calibrator), signals, unread answers, labels, sources.

    The agreement of a second look is among the signals where there was one.
    """
    found = []
    if old_score is not None and new_score is not None:
        found.append(drift_of_numbers("score", old_score, new_score))
    looked = bool(old.looked.any() or new.looked.any())
    names = SIGNALS if looked else SIGNALS[:-1]
    found += [drift_of_numbers(name, getattr(old, name), getattr(new, name)) for name in names]
    found.append(drift_of_texts("parsed", _yes_or_no(old.parsed), _yes_or_no(new.parsed)))
    found.append(drift_of_texts("label", old.label, new.label))
    found.append(drift_of_texts("source", old.source, new.source))
    return tuple(found)


def _yes_or_no(flags: Bools) -> Texts:
    return np.where(flags, "yes", "no").astype(np.object_)


def _kolmogorov_smirnov(old: Floats, new: Floats) -> tuple[float, bool]:
    """The distance, and whether it is more than chance (asymptotic distribution; ties make it cautious)."""
    if not len(old) or not len(new):
        return 0.0, False
    at = np.concatenate([old, new])
    below_old = np.searchsorted(np.sort(old), at, side="right") / len(old)
    below_new = np.searchsorted(np.sort(new), at, side="right") / len(new)
    distance = float(np.abs(below_old - below_new).max())
    scale = np.sqrt(len(old) * len(new) / (len(old) + len(new)))
    return distance, bool(kolmogorov(scale * distance) < _CHANCE)


def _judge(
    name: str, before: NDArray[np.intp], after: NDArray[np.intp], ks: float | None, surprising: bool, words: str
) -> Drift:
    """PSI is about chi-squared times (1/n + 1/m) without a change: what chance reaches is no warning."""
    used = (before + after) > 0
    before, after = before[used], after[used]
    n, m = int(before.sum()), int(after.sum())
    if not n or not m:
        return Drift(name, 0.0, ks, float("inf"), DriftLevel.TOO_FEW, f"{name}: nothing to compare")
    old = (before + 0.5) / (n + 0.5 * len(before))  # an empty bin is no proof of an impossible value
    new = (after + 0.5) / (m + 0.5 * len(after))
    psi = float(((new - old) * np.log(new / old)).sum())
    chance = float(chi2.ppf(1.0 - _CHANCE, max(1, len(before) - 1)) * (1.0 / n + 1.0 / m))
    distance = ks if ks is not None and surprising else 0.0
    if (psi > WARNING and psi > chance) or distance > KS_WARNING:
        level = DriftLevel.WARNING
    elif (psi > WATCH and psi > chance) or distance > KS_WATCH:
        level = DriftLevel.WATCH
    else:
        level = DriftLevel.TOO_FEW if chance > WARNING else DriftLevel.STEADY
    if level is DriftLevel.STEADY:
        words = f"{name}: no change to speak of"
    elif level is DriftLevel.TOO_FEW:
        words = f"{name}: {m} events against {n} cannot tell a change from chance"
    return Drift(name, psi, ks, chance, level, words)


def _words_of_numbers(name: str, old: Floats, new: Floats, before: NDArray[np.intp], after: NDArray[np.intp]) -> str:
    missing = before[-1] / max(1, before.sum()), after[-1] / max(1, after.sum())
    told = []
    if len(old) and len(new):
        told.append(f"median went from {np.median(old):.3f} to {np.median(new):.3f}")
    if abs(missing[1] - missing[0]) > 0.01:
        told.append(f"missing went from {missing[0]:.1%} to {missing[1]:.1%}")
    return f"{name}: {', '.join(told)}"
