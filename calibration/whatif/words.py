"""What stands beside the figures, in sentences: why nothing passes, and what all of it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from calibration.certificate import Certified, InsufficientLabels, NoCertifiableThreshold
from calibration.policy import Policy
from calibration.whatif.contracts import PromiseAnswer
from calibration.whatif.question import Question
from calibration.whatif.terrain import Terrain


def refusal(terrain: Terrain, policy: Policy, promises: tuple[PromiseAnswer, ...], missing: int | None) -> str:
    """Why nothing would pass."""
    if isinstance(terrain.at_hand, str):
        return f"Nothing can be certified: {terrain.at_hand}. At least {missing:,} answered audits are needed."
    if not promises:
        return "Nothing can pass: every label is severe, or in no group of the promise."
    if any(isinstance(each.promise.certificate, Certified) for each in promises):
        return "A threshold would be certified, but every label under it is capped or severe."
    refused = [each.promise.certificate for each in promises]
    if all(isinstance(each, NoCertifiableThreshold) and each.accepted == 0 for each in refused):
        return "Nothing can be certified: no audited reading could pass on these terms."
    if missing is None:
        return (
            f"Nothing can be certified: even above the most cautious threshold more than {policy.max_error:.1%} of the "
            "audits were wrong. More labels will not help; a larger max_error, or a better reader, may."
        )
    few = all(isinstance(each, InsufficientLabels) for each in refused)
    how = "if none of them is wrong" if few else "if errors stay as frequent as those seen"
    about = "at least" if few else "about"
    return f"Nothing can be certified yet: {about} {missing:,} more answered audits are needed, {how}."


def assumptions(
    terrain: Terrain, policy: Policy, question: Question, confidence: float, as_the_loop: bool
) -> tuple[str, ...]:
    """All of it."""
    return tuple(_assumptions(terrain, policy, question, confidence, as_the_loop))


def _assumptions(
    terrain: Terrain, policy: Policy, question: Question, confidence: float, as_the_loop: bool
) -> Iterator[str]:
    days = terrain.days
    yield (
        f"The future is like the {terrain.readings:,} readings of {terrain.since:%Y-%m-%d %H:%M} to "
        f"{terrain.until:%Y-%m-%d %H:%M} UTC, all of them routed anew; counts are exact."
    )
    if days.complete >= 2:
        yield f"Intervals are 95 %, by how much the {days.complete} whole days differ."
    else:
        yield f"The survey is {days.span:.2g} days long: too short for intervals, and a day may look different."
    yield "`then` is the state after the new gate is certified and in full force; until then the loop collects labels."
    if not isinstance(terrain.at_hand, str):
        yield (
            f"The certificate is that of attempt {terrain.at_hand.attempts + 1} on these labels, at {confidence:.1%} "
            f"confidence, with coverage of its own counted on {len(terrain.at_hand.traffic_score):,} readings."
        )
    if not as_the_loop:
        yield (
            "To answer in time the tests begin where they would without earlier labels: the loop's own threshold may "
            "differ a little. Ask for the exact answer to have it."
        )
    if terrain.pace is not None:
        yield (
            f"Each review is one verdict of {terrain.pace.seconds.value:.1f} s, the mean of "
            f"{terrain.pace.verdicts:,}; pauses are not counted."
        )
    else:
        yield "No verdict has been measured, so nothing is said of hours."
    if question.reviewers is not None and terrain.pace is None:
        yield "What so many reviewers can do is unknown for the same reason."
    yield (
        f"Audits are drawn at {policy.audit_rates.full:.1%} while something passes, and at "
        f"{policy.audit_rates.closed:.1%} while nothing does, which adds no work."
    )
    if policy.reviews_per_day is not None or question.reviewers is not None:
        yield "The queue: every day the mean day, first come first served, no reviewer idle while anything waits."
