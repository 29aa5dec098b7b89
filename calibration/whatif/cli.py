"""`tidegate calibrate what-if`: what would be under another policy, before it is published.

Exit codes: 0 answered (a refusal to certify is an answer, too), 1 Kafka or the ledger failed, or there is nothing to
ask of, 2 wrong usage, values or settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

# Kafka and numerics take seconds to load: they are imported when the command is called.
if TYPE_CHECKING:
    from calibration.policy import Policy
    from calibration.rollout import Rollout


def what_if_command(
    taxonomy: Annotated[str, typer.Argument(help="of whose policy", metavar="TAXONOMY")],
    max_error: Annotated[float | None, typer.Option(help="the promise, as 0.05", metavar="SHARE")] = None,
    confidence: Annotated[float | None, typer.Option(help="above 0.5 and below 1", metavar="SHARE")] = None,
    promise: Annotated[str | None, typer.Option(help="joint or per_label", metavar="WORD")] = None,
    max_label_error: Annotated[
        float | None, typer.Option(help="cap for each label in a joint promise", metavar="SHARE")
    ] = None,
    error_cost: Annotated[float | None, typer.Option(help="of one wrong decision that passed", metavar="COST")] = None,
    label_error_cost: Annotated[
        list[str] | None, typer.Option(help="of one label, as fear=5; may be repeated", metavar="LABEL=COST")
    ] = None,
    review_cost: Annotated[float | None, typer.Option(help="of one review", metavar="COST")] = None,
    label_review_cost: Annotated[
        list[str] | None, typer.Option(help="of one label; may be repeated", metavar="LABEL=COST")
    ] = None,
    scarcity: Annotated[float | None, typer.Option(help="shadow price added to a review", metavar="COST")] = None,
    audit_rate: Annotated[
        float | None, typer.Option(help="of a gate in full force, 0.01 to 1", metavar="SHARE")
    ] = None,
    severe: Annotated[
        list[str] | None,
        typer.Option(help="a label that always goes to a person; repeated, it is the whole list", metavar="LABEL"),
    ] = None,
    no_severe: Annotated[bool, typer.Option("--no-severe", help="no label is severe")] = False,
    reviews_per_day: Annotated[float | None, typer.Option(help="that the reviewers can do", metavar="N")] = None,
    reviewers: Annotated[float | None, typer.Option(help="or how many they are", metavar="N")] = None,
    hours: Annotated[float, typer.Option(help="that each of them reviews in a day", metavar="HOURS")] = 6.0,
    days: Annotated[int, typer.Option(min=1, max=400, help="of the newest readings that are looked at")] = 28,
    examples: Annotated[int, typer.Option(min=0, help="images shown that would change their route")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="the whole answer, one JSON line")] = False,
) -> None:
    """What would pass, be promised and be left to reviewers, were the policy another. Changes nothing.

    Every knob that is not given stays as in the policy in force. Routes all
    readings of the last days anew, and certifies as `tidegate calibrate run`
    would with the labels of now. The ledger is taken as it is: `tidegate ledger
    sync` brings it up to date.

    tidegate calibrate what-if emoset-8 --max-error 0.03 --severe fear
    """
    from rich.console import Console  # noqa: PLC0415

    from calibration.loop.settings import LoopSettings  # noqa: PLC0415
    from calibration.settings import KafkaSettings, LedgerSettings  # noqa: PLC0415
    from calibration.whatif.answer import what_if  # noqa: PLC0415
    from calibration.whatif.question import Question  # noqa: PLC0415
    from calibration.whatif.reading import survey  # noqa: PLC0415
    from calibration.whatif.showing import show  # noqa: PLC0415

    if severe and no_severe:
        raise _failure("--severe and --no-severe contradict each other", 2)
    knobs: dict[str, Any] = {
        "max_error": max_error,
        "confidence": confidence,
        "promise": promise,
        "max_label_error": max_label_error,
        "error_cost": error_cost,
        "label_error_costs": _costs("--label-error-cost", label_error_cost),
        "review_cost": review_cost,
        "label_review_costs": _costs("--label-review-cost", label_review_cost),
        "reviewer_scarcity": scarcity,
        "audit_rate": audit_rate,
        "severe_labels": severe or (() if no_severe else None),
        "reviews_per_day": reviews_per_day,
        "reviewers": reviewers,
        "hours_per_reviewer": hours,
    }
    with _refusals():
        question = Question.model_validate(knobs)
        kafka, ledger, settings = KafkaSettings(), LedgerSettings(), LoopSettings()
        policy, rollout = _in_force(kafka, taxonomy)
        terrain = survey(ledger, rollout, policy, settings, datetime.now(UTC), days)
        answer = what_if(terrain, question, exact=True, examples=examples)
    if as_json:
        typer.echo(answer.model_dump_json())
    else:
        show(answer, Console())


def _in_force(kafka: Any, taxonomy: str) -> tuple[Policy, Rollout]:
    """The newest policy of a taxonomy, and its gates; closed ones, where the loop has not looked yet."""
    from calibration.loop.advance import first_rollout  # noqa: PLC0415
    from calibration.loop.service import UnreadableRecordError, documents  # noqa: PLC0415
    from calibration.policy import Policy  # noqa: PLC0415
    from calibration.rollout import Rollout  # noqa: PLC0415

    policies = documents(kafka, "policies", Policy)
    policy = policies.get(taxonomy)
    if policy is None:
        known = f"there are policies of {', '.join(sorted(policies))}" if policies else "there is none of any"
        raise _failure(f"{taxonomy} has no policy to begin from ({known}): `tidegate calibrate policy FILE`", 1)
    rollout = documents(kafka, "gates", Rollout).get(taxonomy)
    for each in (policy, rollout):
        if isinstance(each, UnreadableRecordError):
            raise _failure(str(each), 1)
    assert isinstance(policy, Policy)
    return policy, rollout if isinstance(rollout, Rollout) else first_rollout(policy, policy.created_at)


def _costs(option: str, given: list[str] | None) -> dict[str, float]:
    """LABEL=COST, as often as it was given."""
    found: dict[str, float] = {}
    for text in given or []:
        label, equals, cost = text.rpartition("=")
        try:
            found[label] = float(cost)
        except ValueError:
            equals = ""
        if not label or not equals:
            raise _failure(f"{option}: {text!r} is not of the form LABEL=COST, as fear=5", 2)
    return found


@contextmanager
def _refusals() -> Iterator[None]:
    """What goes wrong is said to a person, without a traceback."""
    from kafka.errors import KafkaError  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from calibration.ledger.place import LedgerError  # noqa: PLC0415
    from calibration.whatif.question import UnknownLabelError  # noqa: PLC0415
    from calibration.whatif.reading import EmptyLedgerError  # noqa: PLC0415

    try:
        yield
    except ValidationError as error:
        lines = [
            f"  - {'.'.join(str(part) for part in each['loc']) or 'policy'}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise _failure("\n".join(["This cannot be asked:", *lines]), 2) from error
    except UnknownLabelError as error:
        raise _failure(str(error), 2) from error
    except (EmptyLedgerError, LedgerError) as error:
        raise _failure(str(error), 1) from error
    except KafkaError as error:
        raise _failure(f"Kafka: {error!r}. `tidegate doctor` says more.", 1) from error


def _failure(sentence: str, code: int) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)
