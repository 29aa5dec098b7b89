"""The monitor over a gate's audits: soon after a change, seldom without one."""

from __future__ import annotations

import numpy as np

from calibration.watch.monitor import Monitor, first_alarm


def test_a_long_good_past_does_not_hide_a_change() -> None:
    rng = np.random.default_rng(0)
    delays, alone = [], []
    for _ in range(40):
        wrong = np.concatenate([rng.random(1_000) < 0.03, rng.random(2_000) < 0.15])
        one = Monitor.start(0.05)
        needed = next(n for n in range(1_000, 3_000, 10) if first_alarm(wrong[:n], 0.05, 0.05) is not None)
        delays.append(needed - 1_000)
        alone.append(next((n for n in range(1_000, 3_000, 10) if one.follow(wrong[:n]).alarm()), 3_000) - 1_000)
    assert np.median(delays) < 200
    assert np.median(delays) < 0.6 * np.median(alone)


def test_false_alarms_stay_under_the_level() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(first_alarm(rng.random(1_500) < 0.05, 0.05, 0.05) is not None for _ in range(400))
    assert alarms <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_no_audits_no_alarm() -> None:
    assert first_alarm(np.zeros(0, np.bool_), 0.05, 0.05) is None
