"""A policy's promises: which labels they speak of, what they let pass, and that caps do not break them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from calibration.certificate import Certified, InsufficientLabels, NoCertifiableThreshold, Promise
from calibration.certify.earlier import Earlier
from calibration.certify.procedure import certify
from calibration.certify.promises import certify_promises, part_of_delta
from calibration.offline.passing import passing
from calibration.policy import Policy
from calibration.table import Bools, Floats, Texts
from tests.calibration.certify.worlds import binormal

LABELS = np.array(["awe", "disgust", "fear", "joy"], np.object_)


def policy(**terms: Any) -> Policy:
    """Errors that cost much less than reviews: the cost rule is silent unless a test gives it a voice."""
    given = {"policy_id": "p", "taxonomy": "t", "created_at": datetime(2026, 11, 1, tzinfo=UTC), "max_error": 0.05}
    return Policy(**given | terms)


def drawn(
    n: int, seed: int | list[int], bad: str = "", odds: float = 0.25, unparsed: float = 0.0
) -> tuple[Floats, Bools, Texts]:
    """Binormal readings; of the label `bad` the scores promise too much: the odds of being right are less."""
    rng = np.random.default_rng(seed)
    score, _ = binormal(n, rng)
    label = LABELS[rng.integers(0, len(LABELS), n)]
    right = np.where(label == bad, expit(logit(score) + math.log(odds)), score)
    wrong = rng.random(n) > right
    lost = rng.random(n) < unparsed
    return np.where(lost, np.nan, score), wrong | lost, np.where(lost, "", label)


def asked(terms: Policy, n: int = 4000, seed: int = 0, **world: Any) -> tuple[tuple[Promise, ...], Floats, Texts]:
    traffic, _, traffic_label = drawn(10_000, [seed, 1], **world)
    return certify_promises(terms, *drawn(n, [seed, 2], **world), traffic, traffic_label), traffic, traffic_label


def test_a_joint_promise_is_the_certificate_of_everything() -> None:
    (promise,), traffic, _ = asked(policy(), unparsed=0.05)
    score, wrong, _ = drawn(4000, [0, 2], unparsed=0.05)
    assert promise.certificate == certify(score, wrong, traffic, max_error=0.05, confidence=0.9)
    assert promise.certificate.labels_used == 4000
    assert promise.labels == tuple(LABELS)
    assert promise.capped == frozenset()


def test_the_error_of_each_label_stands_beside_it() -> None:
    (promise,), _, _ = asked(policy(), bad="fear", odds=0.5)
    certificate = promise.certificate
    assert isinstance(certificate, Certified)
    score, wrong, label = drawn(4000, [0, 2], bad="fear", odds=0.5)
    passed = score >= certificate.threshold
    assert [one.label for one in promise.label_errors] == list(LABELS)
    for one in promise.label_errors:
        rows = passed & (label == one.label)
        assert (one.accepted, one.errors) == (rows.sum(), wrong[rows].sum())
        assert one.low <= one.errors / one.accepted <= one.high
    assert sum(one.accepted for one in promise.label_errors) == certificate.accepted
    assert sum(one.errors for one in promise.label_errors) == certificate.errors


def test_severe_labels_are_in_no_promise_and_do_not_pass() -> None:
    (promise,), traffic, label = asked(policy(severe_labels={"fear"}))
    assert promise.labels == ("awe", "disgust", "joy")
    assert isinstance(promise.certificate, Certified)
    expected = np.mean((traffic >= promise.certificate.threshold) & (label != "fear"))
    assert promise.certificate.coverage == pytest.approx(float(expected))
    assert promise.certificate.labels_used == int((drawn(4000, [0, 2])[2] != "fear").sum())


def test_severe_labels_may_be_left_out_of_audits_or_not() -> None:
    """They are outside the region: it is the same certificate."""
    terms = policy(severe_labels={"fear"})
    traffic, _, traffic_label = drawn(10_000, 1)
    score, wrong, label = drawn(2000, 2)
    kept = label != "fear"
    everything = certify_promises(terms, score, wrong, label, traffic, traffic_label)
    assert certify_promises(terms, score[kept], wrong[kept], label[kept], traffic, traffic_label) == everything


def test_each_label_alone() -> None:
    promises, traffic, label = asked(policy(promise="per_label", severe_labels={"joy"}), n=6000, bad="fear")
    assert [promise.labels for promise in promises] == [("awe",), ("disgust",), ("fear",)]
    score, wrong, of = drawn(6000, [0, 2], bad="fear")
    for promise in promises:
        (name,) = promise.labels
        alone = certify(
            score[of == name],
            wrong[of == name],
            np.where(label == name, traffic, np.nan),
            max_error=0.05,
            confidence=0.9,
        )
        assert promise.certificate == alone
        assert promise.label_errors == ()
    covered = [each.certificate.coverage for each in promises if isinstance(each.certificate, Certified)]
    assert sum(covered) == pytest.approx(float(passing(promises, label, traffic).mean()))
    assert len(covered) >= 2


def test_groups_and_labels_in_none_of_them() -> None:
    terms = policy(promise=(("awe", "joy"), ("fear",), ("surprise",)), severe_labels={"fear"})
    promises, traffic, label = asked(terms)
    assert [promise.labels for promise in promises] == [("awe", "joy"), ("surprise",)]
    assert not passing(promises, label, traffic)[label == "disgust"].any()
    assert isinstance(promises[0].certificate, Certified)
    assert promises[1].certificate == InsufficientLabels(labels_used=0, least_abstention=0.0, labels_needed=45_000)


def test_a_label_that_traffic_never_shows_certifies_nothing() -> None:
    traffic, _, traffic_label = drawn(1000, 1)
    score, wrong, _ = drawn(100, 2)
    label = np.full(100, "surprise", np.object_)
    terms = policy(promise=(("surprise",),))
    (promise,) = certify_promises(terms, score, wrong, label, traffic, traffic_label)
    assert isinstance(promise.certificate, NoCertifiableThreshold)
    assert promise.certificate.accepted == 0


def test_what_is_not_worth_passing_is_not_certified() -> None:
    """An error of `fear` costs 50 reviews, so below a score of .98 it is reviewed; the certified set is without it."""
    terms = policy(label_error_costs={"fear": 50.0}, max_error=0.1)
    (promise,), traffic, label = asked(terms)
    assert isinstance(promise.certificate, Certified)
    threshold = promise.certificate.threshold
    assert threshold < 0.98 == pytest.approx(terms.least_score("fear"))
    passes = (traffic >= threshold) & ((label != "fear") | (traffic >= terms.least_score("fear")))
    assert promise.certificate.coverage == pytest.approx(float(passes.mean()))
    score, wrong, of = drawn(4000, [0, 2])
    rows = (score >= threshold) & ((of != "fear") | (score >= terms.least_score("fear")))
    assert (promise.certificate.accepted, promise.certificate.errors) == (rows.sum(), wrong[rows].sum())


@pytest.mark.parametrize("informed", [False, True])
def test_a_label_above_the_cap_does_not_pass(informed: bool) -> None:
    terms = policy(max_label_error=0.12)
    world = {"bad": "fear", "odds": 0.1}
    traffic, _, traffic_label = drawn(10_000, 1, **world)  # type: ignore[arg-type]
    earlier = Earlier(*drawn(1000, 3, **world)) if informed else None  # type: ignore[arg-type]
    rows = drawn(4000, 2, **world)  # type: ignore[arg-type]
    (promise,) = certify_promises(terms, *rows, traffic, traffic_label, earlier=earlier)
    assert promise.capped == {"fear"}
    assert promise.labels == tuple(LABELS)
    assert isinstance(promise.certificate, Certified)
    for one in promise.label_errors:
        assert (one.errors > 0.12 * one.accepted) == (one.label == "fear")
    assert promise.certificate.coverage == pytest.approx(float(passing((promise,), traffic_label, traffic).mean()))
    assert not passing((promise,), traffic_label, traffic)[traffic_label == "fear"].any()
    uncapped = certify_promises(policy(), *rows, traffic, traffic_label, earlier=earlier)[0].certificate
    assert uncapped.labels_used == 4000 > promise.certificate.labels_used


def test_caps_do_not_break_the_promise() -> None:
    """Flat error just above the promise: nothing may be certified, and dropping unlucky labels makes it tempting."""
    terms = policy(max_label_error=0.08)
    rng = np.random.default_rng(5)
    traffic, _, traffic_label = drawn(3000, 1)
    made, broken, capped = 300, 0, 0
    for _ in range(made):
        rows = rng.integers(0, 3000, 400)
        wrong = rng.random(400) < 0.0501
        (promise,) = certify_promises(terms, traffic[rows], wrong, traffic_label[rows], traffic, traffic_label)
        broken += isinstance(promise.certificate, Certified)
        capped += bool(promise.capped)
    assert broken / made <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / made)
    assert capped > 0


def test_where_every_label_is_above_the_cap_nothing_passes() -> None:
    traffic = np.full(1000, 0.9)
    label = LABELS[np.arange(1000) % 2]
    wrong = np.arange(1000) % 100 < 2  # one of fifty, of either label
    (promise,) = certify_promises(policy(max_label_error=0.001), traffic, wrong, label, traffic, label)
    assert promise.capped == {"awe", "disgust"}
    assert isinstance(promise.certificate, NoCertifiableThreshold)
    assert not passing((promise,), label, traffic).any()


@given(st.integers(1, 12), st.data())
def test_the_parts_of_delta_add_up_to_no_more_than_all(labels: int, data: st.DataObject) -> None:
    expected = data.draw(st.integers(0, 2**labels - 1))
    total = 0.0
    for chosen in range(2**labels):
        differing = frozenset(str(bit) for bit in range(labels) if (chosen ^ expected) >> bit & 1)
        total += part_of_delta(labels, differing)
    assert 0.5 < total <= 1.0 + 1e-9


def test_a_higher_confidence_lets_less_pass() -> None:
    rows, (traffic, _, label) = drawn(4000, 2), drawn(10_000, 1)
    usual, surer = (
        certify_promises(policy(), *rows, traffic, label, confidence=confidence)[0].certificate
        for confidence in (None, 0.99)
    )
    assert isinstance(usual, Certified)
    assert isinstance(surer, Certified)
    assert surer.coverage < usual.coverage


def test_rows_below_the_floor_are_left_out() -> None:
    traffic, _, label = drawn(10_000, 1)
    floor = float(np.quantile(traffic, 0.5))
    score, wrong, of = drawn(3000, 2)
    top = score >= floor
    with_them = certify_promises(policy(), score, wrong, of, traffic, label, floor=floor)
    without = certify_promises(policy(), score[top], wrong[top], of[top], traffic, label, floor=floor)
    assert with_them == without
    assert with_them[0].certificate.labels_used == top.sum()


def test_missing_labels_are_refused() -> None:
    score, wrong, label = drawn(100, 1)
    with pytest.raises(ValueError, match="model's label beside its score"):
        certify_promises(policy(), score, wrong, label[:-1], score, label)
    with pytest.raises(ValueError, match="label of every earlier row"):
        certify_promises(policy(), score, wrong, label, score, label, earlier=Earlier(score, wrong))
    with pytest.raises(ValueError, match="different lengths"):
        Earlier(score, wrong, label[:-1])
    with pytest.raises(ValueError, match="no traffic"):
        certify_promises(policy(), score, wrong, label, np.array([]), np.array([], np.object_))
