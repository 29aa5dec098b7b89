from __future__ import annotations

from structlog.testing import capture_logs

from worker.admission import Admission


def test_it_closes_above_the_limit_reopens_well_below_it_and_says_so_once() -> None:
    admission = Admission(0.9)
    with capture_logs() as logs:
        found = [admission.admits(ratio) for ratio in (0.0, 0.89, 0.9, 0.97, 0.89, 0.86, 0.85, 0.89)]
    assert found == [True, True, False, False, False, False, True, True]
    assert [entry["event"] for entry in logs] == ["no further events are taken", "events are taken again"]


def test_without_a_limit_in_valkey_it_stays_open() -> None:
    assert Admission(1.0).admits(0.0)
