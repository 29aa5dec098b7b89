"""The report: its numbers by hand, and its page as a browser and a person get it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats
from typer.testing import CliRunner

from calibration.calibrator import Calibrator
from calibration.certificate import Certified, InsufficientLabels, LabelError, Promise
from calibration.cli import app
from calibration.gate import CertifiedThresholds, Gate
from calibration.offline.content import read_content, write_content
from calibration.offline.curves import histogram, reliability, risk_coverage, share
from calibration.offline.files import read_outcomes, read_signals
from calibration.offline.gathering import report_data
from calibration.offline.page import render
from calibration.offline.passing import passing
from calibration.offline.report import Report
from calibration.offline.reporting import report_files
from calibration.policy import Policy
from tests.calibration.offline.predictions import predictions

NOW = datetime(2026, 11, 23, tzinfo=UTC)
EVIL = "<script>alert('label')</script>"


def test_an_interval_of_equal_weights_is_that_of_clopper_and_pearson() -> None:
    found = share(np.arange(40) < 7, np.full(40, 2.5))
    exact = stats.binomtest(7, 40).proportion_ci(0.95, "exact")
    assert (found.n, found.value) == (40, 7 / 40)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert share(np.zeros(5, np.bool_), np.ones(5)).low == 0.0
    assert share(np.ones(5, np.bool_), np.ones(5)).high == 1.0
    with pytest.raises(ValueError, match="a share of no rows"):
        share(np.zeros(0, np.bool_), np.ones(0))


def test_unequal_weights_widen_an_interval() -> None:
    events = np.arange(40) % 4 == 0
    even, uneven = share(events, np.ones(40)), share(events, np.where(np.arange(40) < 8, 10.0, 1.0))
    assert uneven.value == pytest.approx(0.25)
    assert uneven.high - uneven.low > even.high - even.low


def test_reliability_counts_by_hand() -> None:
    score = np.array([0.05, 0.07, 0.55, 1.0])
    bins = reliability(score, np.array([False, True, True, True]), np.array([1.0, 3.0, 1.0, 1.0]))
    assert [(bin_.low, bin_.high, bin_.correct.n) for bin_ in bins] == [(0.0, 0.1, 2), (0.5, 0.6, 1), (0.9, 1.0, 1)]
    assert bins[0].mean_score == pytest.approx(0.065)
    assert bins[0].correct.value == pytest.approx(0.75)


def test_risk_and_coverage_count_by_hand() -> None:
    score = np.repeat([0.9, 0.8, 0.3], 10)
    correct = np.array([True] * 10 + [True] * 5 + [False] * 5 + [False] * 10)
    traffic = np.array([0.95, 0.9, 0.85, 0.8, 0.1])
    curve = risk_coverage(score, correct, np.ones(30), traffic, 10.0)
    assert [point.threshold for point in curve] == [0.9, 0.8, 0.3]  # equal scores pass together
    assert [point.coverage for point in curve] == pytest.approx([0.2, 0.4, 0.4])
    assert [point.error.value for point in curve] == pytest.approx([0.0, 0.25, 0.5])
    by_labels = risk_coverage(score, correct, np.ones(30), None, 40.0)
    assert [point.coverage for point in by_labels] == pytest.approx([0.25, 0.5, 0.75])


def test_histograms_are_shares() -> None:
    assert histogram(np.array([0.0, 0.3, 1.0, 1.0]), bins=2) == (0.5, 0.5)
    assert histogram(np.array([0.1, 0.9]), np.array([1.0, 3.0]), bins=2) == (0.25, 0.75)
    assert histogram(np.zeros(0), bins=2) == (0.0, 0.0)


def test_only_certified_labels_that_are_not_capped_pass() -> None:
    certificate = Certified(
        labels_used=100, least_abstention=0.0, threshold=0.8, coverage=0.5, upper_bound=0.04, errors=1, accepted=60
    )
    refusal = InsufficientLabels(labels_used=3, least_abstention=0.0, labels_needed=60)
    promises = (
        Promise(labels=("awe", "fear"), certificate=certificate, capped=frozenset({"fear"})),
        Promise(labels=("joy",), certificate=refusal),
    )
    labels = np.array(["awe", "awe", "awe", "fear", "joy", ""], np.object_)
    score = np.array([0.8, 0.79, np.nan, 0.99, 0.99, 0.99])
    assert passing(promises, labels, score).tolist() == [True, False, False, False, False, False]
    policy = Policy(policy_id="p", taxonomy="any", created_at=NOW, max_error=0.05, error_cost=10.0)
    dear = np.array([0.95, 0.85, np.nan, 0.99, 0.99, 0.99])  # an error costs ten reviews: from .9 on it is worth it
    assert passing(promises, labels, dear).tolist() == [True, True, False, False, False, False]
    assert passing(promises, labels, dear, policy).tolist() == [True, False, False, False, False, False]
    severe = policy.model_copy(update={"severe_labels": frozenset({"awe"})})
    assert not passing(promises, labels, dear, severe).any()


class Page(HTMLParser):
    """What a browser would make of the page, as far as the tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outcomes with a label that is a script, traffic, and a calibrator fitted on other outcomes."""
    place = tmp_path_factory.mktemp("report")
    for name, table in {
        "older": predictions(800, 1, ids="old"),
        "newer": predictions(1_500, 2, ids="new"),
        "traffic": predictions(4_000, 3, ids="t", outcomes=False),
    }.items():
        labels = [EVIL if label == "fear" else label for label in table["label"].to_pylist()]
        named = table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels))
        write_content(place / f"{name}.parquet", named)
    run("fit", "--outcomes", place / "older.parquet", "--out", place / "calibrator.json")
    return place


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout == ""
    return result.stderr


def page(folder: Path, out: Path, *more: object) -> tuple[str, Page]:
    base = ("--outcomes", folder / "newer.parquet", "--calibrator", folder / "calibrator.json", "--out", out)
    run("report", *base, *more)
    text = out.read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    return text, found


def test_the_page_holds_everything_and_reaches_for_nothing(folder: Path, tmp_path: Path) -> None:
    traffic = ("--traffic", folder / "traffic.parquet", "--previous", folder / "calibrator.json")
    text, found = page(folder, tmp_path / "r.html", *traffic, "--max-error", "0.1")
    for heading in ("How good the scores are", "Reliability", "Risk and coverage", "Scores", "By label", "By source",
                    "Drift", "What changed since the last gate", "Where it comes from"):  # fmt: skip
        assert heading in found.text
    assert "Certified:" in found.text
    assert "promise: at most 10 %" in found.text
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "img", "object", "form"})
    for _, attributes in found.tags:
        assert not {"src", "href", "onclick", "onload"} & attributes.keys()
    assert "url(" not in text
    assert "@import" not in text


def test_words_of_users_stay_words(folder: Path, tmp_path: Path) -> None:
    text, found = page(folder, tmp_path / "r.html")
    assert EVIL not in text
    assert EVIL in found.text


def test_every_figure_can_be_read_without_seeing_it(folder: Path, tmp_path: Path) -> None:
    _, found = page(folder, tmp_path / "r.html")
    pictures = [attributes for tag, attributes in found.tags if tag == "svg" and attributes.get("class") != "whisker"]
    assert len(pictures) == 3
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 20
    assert [tag for tag, _ in found.tags].count("details") == 3  # the same in numbers


def test_without_traffic_and_promise_the_page_says_what_to_add(folder: Path, tmp_path: Path) -> None:
    _, found = page(folder, tmp_path / "r.html")
    for word in ("--traffic", "--previous", "--max-error"):
        assert word in found.text


def test_a_refusal_is_shown_with_its_numbers(folder: Path, tmp_path: Path) -> None:
    arguments = ("--traffic", folder / "traffic.parquet", "--max-error", "0.0005")
    _, found = page(folder, tmp_path / "r.html", *arguments)
    assert "Not certified: everything goes to review" in found.text
    assert "1,500 of the" in found.text


def test_outcomes_that_the_calibrator_learned_from_are_no_judge_of_it(folder: Path, tmp_path: Path) -> None:
    arguments = ("--calibrator", folder / "calibrator.json", "--out", tmp_path / "r.html")
    said = run("report", "--outcomes", folder / "older.parquet", *arguments)
    assert "fitted on these very outcomes" in said
    assert "fitted on these very outcomes" in Page((tmp_path / "r.html").read_text()).text
    shuffled = read_content(folder / "older.parquet").table.take(np.random.default_rng(0).permutation(800))
    write_content(tmp_path / "shuffled.parquet", shuffled)
    assert "these very outcomes" in run("report", "--outcomes", tmp_path / "shuffled.parquet", *arguments)
    assert "800 of these 1,500 are no newer" in run("report", "--outcomes", folder / "newer.parquet", *arguments)
    days_later = shuffled["decided_at"].to_numpy() + np.timedelta64(9, "D")
    newer = shuffled.set_column(shuffled.schema.get_field_index("decided_at"), "decided_at", pa.array(days_later))
    write_content(tmp_path / "later.parquet", newer)
    assert "too good" not in run("report", "--outcomes", tmp_path / "later.parquet", *arguments)


def test_figures_that_are_not_defined_are_said_to_be_so(folder: Path, tmp_path: Path) -> None:
    table = predictions(40, 6)
    right = table.set_column(table.schema.get_field_index("correct"), "correct", pa.array([True] * 40))
    write_content(tmp_path / "right.csv", right)
    run("report", "--outcomes", tmp_path / "right.csv", "--calibrator", folder / "calibrator.json",
        "--out", tmp_path / "r.html")  # fmt: skip
    found = Page((tmp_path / "r.html").read_text())
    assert "AUROCnot defined" in found.text
    assert "Brier skillnot defined" in found.text
    assert "nan" not in found.text.lower()


def test_drift_is_told_in_words(folder: Path, tmp_path: Path) -> None:
    table = read_content(folder / "traffic.parquet").table
    shifted = pc.multiply(table["label_probability"], 0.7)
    changed = table.set_column(table.schema.get_field_index("label_probability"), "label_probability", shifted)
    changed = changed.set_column(changed.schema.get_field_index("label_entropy"), "label_entropy", pa.nulls(4_000))
    write_content(tmp_path / "changed.parquet", changed)
    _, found = page(folder, tmp_path / "r.html", "--traffic", tmp_path / "changed.parquet")
    drift = found.text.split("Drift", 1)[1].split("What changed since")[0]
    assert "warning" in drift
    assert "median went from 0.8" in drift
    assert "missing went from 0.0% to 100.0%" in drift
    assert drift.index("label_probability") < drift.index("verbal_confidence")  # what changed comes first


def test_a_report_is_a_document_that_can_be_read_back(folder: Path) -> None:
    data = report_files(
        folder / "newer.parquet",
        folder / "calibrator.json",
        traffic=folder / "traffic.parquet",
        previous=None,
        policy=Policy(policy_id="p", taxonomy="any", created_at=NOW, max_error=0.0005),
        thin=False,
        made_at=NOW,
    )
    assert Report.model_validate_json(data.model_dump_json()) == data


def test_the_error_of_each_label_stands_beside_a_joint_promise(folder: Path) -> None:
    certificate = Certified(
        labels_used=900, least_abstention=0.1, threshold=0.8, coverage=0.5, upper_bound=0.04, errors=12, accepted=500
    )
    errors = (
        LabelError(label="awe", accepted=400, errors=4, low=0.004, high=0.022),
        LabelError(label=EVIL, accepted=100, errors=8, low=0.041, high=0.14),
    )
    promise = Promise(labels=("awe", EVIL), certificate=certificate, label_errors=errors, capped=frozenset({EVIL}))
    policy = Policy(policy_id="p", taxonomy="any", created_at=NOW, max_error=0.05, max_label_error=0.06)
    data = report_data(
        read_outcomes(folder / "newer.parquet").outcomes,
        Calibrator.model_validate_json((folder / "calibrator.json").read_bytes()),
        traffic=read_signals(folder / "traffic.parquet").signals,
        policy=policy,
        promises=[promise],
    )
    told = Page(render(data)).text.split("Label by label, above this threshold")[1].split("By label")[0]
    assert "awe40041.0 % 0.4 % – 2.2 %yes" in told
    assert f"{EVIL}10088.0 % 4.1 % – 14.0 %no: above the cap" in told
    assert "Labels whose own error is above 6.0 % do not pass" in told
    passing_of = {row.name: row.passing for row in data.labels.rows}
    assert passing_of["awe"] is not None
    assert passing_of[EVIL] is passing_of["sadness"] is None


def test_what_changed_since_a_gate(folder: Path, tmp_path: Path) -> None:
    """The promise and the certificate then and now, and both calibrators on these outcomes."""
    certificate = Certified(
        labels_used=900, least_abstention=0.1, threshold=0.8765, coverage=0.3, upper_bound=0.09, errors=9, accepted=300
    )
    run("fit", "--outcomes", folder / "newer.parquet", "--out", tmp_path / "other.json")
    gate = Gate(
        gate_id="gate-7",
        created_at=NOW,
        policy=Policy(policy_id="p", taxonomy="any", created_at=NOW, max_error=0.1),
        calibrator=Calibrator.model_validate_json((tmp_path / "other.json").read_bytes()),
        rule=CertifiedThresholds(promises=(Promise(labels=("awe",), certificate=certificate),)),
    )
    (tmp_path / "gate.json").write_text(gate.model_dump_json())
    arguments = ("--previous", tmp_path / "gate.json", "--traffic", folder / "traffic.parquet", "--max-error", "0.05")
    _, found = page(folder, tmp_path / "r.html", *arguments)
    told = found.text.split("What changed since the last gate")[1].split("Where it comes from")[0]
    assert "gate-7, full" in told
    assert "10 % at 90 % confidence" in told
    assert "5 % at 90 % confidence" in told
    assert "threshold 0.8765; 30.0 % passes" in told
    assert gate.calibrator_version in told
    assert "(difference +0.0" in told  # the other one was fitted on these very outcomes


def test_hashes_name_the_very_files(folder: Path, tmp_path: Path) -> None:
    import hashlib

    _, found = page(folder, tmp_path / "r.html")
    for name in ("newer.parquet", "calibrator.json"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in found.text
    assert json.loads((folder / "calibrator.json").read_text())["calibrator_id"] in found.text


def test_one_source_needs_no_table(tmp_path: Path, folder: Path) -> None:
    write_content(tmp_path / "plain.csv", predictions(60, 5, source=False))
    run("report", "--outcomes", tmp_path / "plain.csv", "--calibrator", folder / "calibrator.json",
        "--out", tmp_path / "r.html")  # fmt: skip
    assert "By source" not in Page((tmp_path / "r.html").read_text()).text
