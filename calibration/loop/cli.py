"""`tidegate calibrate run|policy|status|shut|promote|rollback`: the loop on the running system.

Exit codes: 0 done, 1 Kafka or the ledger failed, or there is nothing to act on, 2 wrong usage, files or settings.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

# Kafka and numerics take seconds to load: they are imported by the commands that need them.
if TYPE_CHECKING:
    from calibration.rollout import Rollout


def run(
    once: Annotated[bool, typer.Option("--once", help="one look, for a scheduler; prints one JSON line")] = False,
    no_sync: Annotated[
        bool, typer.Option("--no-sync", help="`tidegate ledger run` keeps the ledger up to date elsewhere")
    ] = False,
) -> None:
    """Fit, certify, promote, watch, renew and shut the gates of every taxonomy that has a policy.

    Configured by TIDEGATE_CALIBRATION_*, TIDEGATE_LEDGER_* and TIDEGATE_KAFKA_*: `tidegate doctor --settings` lists
    them. Run one instance. It keeps no state: kill it at any moment. While it is away gates expire, and then everything
    goes to review.
    """
    from calibration.loop.service import CalibrationService  # noqa: PLC0415
    from calibration.loop.settings import LoopSettings  # noqa: PLC0415
    from calibration.settings import KafkaSettings, LedgerSettings  # noqa: PLC0415

    with _refusals():
        service = CalibrationService(KafkaSettings(), LedgerSettings(), LoopSettings(), syncing=not no_sync)
        if once:
            seen = service.look()
            gates = {name: _summary(rollout) | {"steps": seen.steps[name]} for name, rollout in seen.rollouts.items()}
            typer.echo(json.dumps(gates))
            if seen.failed:
                raise _failure(f"not advanced: {', '.join(seen.failed)}; the log says why", 1)
            return
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        service.run(stop)


def policy(
    file: Annotated[Path, typer.Argument(help="the policy: YAML or JSON", metavar="FILE")],
) -> None:
    """Publish a taxonomy's promise, costs and limits; the next certificate is made on its terms.

    policy_id and created_at are filled in where they are missing. A stricter
    promise shuts the present gate at once; with a looser one it stays until
    the next is certified.

    taxonomy: emoset-8
    max_error: 0.05
    confidence: 0.9
    severe_labels: [fear]
    """
    import yaml  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from calibration.ledger.topic import publish  # noqa: PLC0415
    from calibration.policy import Policy  # noqa: PLC0415
    from calibration.settings import KafkaSettings  # noqa: PLC0415

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _failure(f"{file}: cannot be read as YAML or JSON: {error}", 2) from error
    if not isinstance(given, dict):
        raise _failure(f"{file}: a policy is a mapping of names to values, as `taxonomy: emoset-8`", 2)
    if unknown := sorted(map(str, given.keys() - Policy.model_fields.keys())):
        raise _failure(f"{file}: no such fields: {', '.join(unknown)}. Is one misspelt?", 2)
    terms = json.dumps(given, sort_keys=True, default=str)
    defaults = {
        "policy_id": f"p-{hashlib.sha256(terms.encode()).hexdigest()[:12]}",
        "created_at": datetime.now(UTC).isoformat(),
    }
    try:
        document = Policy.model_validate_json(json.dumps(defaults | given, default=str))
    except ValidationError as error:
        lines = [
            f"  - {'.'.join(map(str, each['loc'])) or 'policy'}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise _failure("\n".join([f"{file}: not a policy", *lines]), 2) from error
    with _refusals():
        publish(KafkaSettings(), "policies", document.taxonomy, document.model_dump_json().encode())
    typer.echo(
        f"{document.taxonomy}: policy {document.policy_id} is published; at most {document.max_error:.3g} wrong at "
        f"{document.confidence:.0%} confidence. `tidegate calibrate run` acts on it, `tidegate calibrate status` tells."
    )


def status(
    taxonomy: Annotated[str | None, typer.Argument(help="default: all", metavar="TAXONOMY")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the whole documents, one JSON line each")] = False,
    steps: Annotated[int, typer.Option(min=1, help="of the newest steps that are shown")] = 6,
) -> None:
    """What is in force, what is to come, and how it came to that."""
    from rich.console import Console  # noqa: PLC0415

    from calibration.loop.service import UnreadableRecordError, documents  # noqa: PLC0415
    from calibration.rollout import Rollout  # noqa: PLC0415
    from calibration.settings import KafkaSettings  # noqa: PLC0415

    with _refusals():
        found = documents(KafkaSettings(), "gates", Rollout)
    chosen = {name: rollout for name, rollout in found.items() if taxonomy in (None, name)}
    if not chosen:
        what = "no taxonomy has gates" if taxonomy is None else f"{taxonomy} has no gates"
        raise _failure(f"{what}: `tidegate calibrate policy FILE` and `tidegate calibrate run` make them", 1)
    console = Console()
    for name, rollout in sorted(chosen.items()):
        if isinstance(rollout, UnreadableRecordError):
            typer.echo(str(rollout), err=True)
        elif as_json:
            typer.echo(rollout.model_dump_json())
        else:
            console.print(f"[bold]{name}[/]", highlight=False)
            for line in described(rollout, steps):
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def shut(
    taxonomy: Annotated[str, typer.Argument(help="whose gate", metavar="TAXONOMY")],
    reason: Annotated[str, typer.Option(help="for those who read the history")],
) -> None:
    """Shut a gate by hand: within a poll of the workers everything goes to review.

    It opens again only by a new certificate, made of what is decided from now on.
    """
    from calibration.loop import by_hand  # noqa: PLC0415

    _act(taxonomy, lambda rollout: by_hand.shut(rollout, datetime.now(UTC), reason))
    typer.echo(f"{taxonomy}: shut. Everything goes to review.")


def promote(
    taxonomy: Annotated[str, typer.Argument(help="whose candidate", metavar="TAXONOMY")],
    reason: Annotated[str, typer.Option(help="for those who read the history")],
) -> None:
    """Move a certified candidate on by hand: from shadow to canary, from canary to full.

    The loop would wait for more evidence. It goes on watching, and shuts or rolls back on alarm.
    """
    from calibration.loop import by_hand  # noqa: PLC0415
    from calibration.loop.settings import LoopSettings  # noqa: PLC0415

    after = _act(taxonomy, lambda rollout: by_hand.promote(rollout, datetime.now(UTC), reason, LoopSettings()))
    if after.candidate is None:
        typer.echo(f"{taxonomy}: {after.live.gate_id} is in full force.")
    else:
        typer.echo(f"{taxonomy}: {after.candidate.gate_id} is in {after.candidate.stage.value}.")


def rollback(
    taxonomy: Annotated[str, typer.Argument(help="whose gate", metavar="TAXONOMY")],
    reason: Annotated[str, typer.Option(help="for those who read the history")],
) -> None:
    """Give up a candidate by hand; without one, put the gate before the live one back, where it still holds.

    The next certificate is made of what is decided from now on.
    """
    from calibration.loop import by_hand  # noqa: PLC0415
    from calibration.loop.settings import LoopSettings  # noqa: PLC0415

    after = _act(taxonomy, lambda rollout: by_hand.roll_back(rollout, datetime.now(UTC), reason, LoopSettings()))
    typer.echo(f"{taxonomy}: {after.steps[-1].gate_id} is given up. Live: {_live(after)}.")


def _act(taxonomy: str, change: Callable[[Rollout], Rollout]) -> Rollout:
    from calibration.loop.by_hand import ByHandRefusedError, act  # noqa: PLC0415
    from calibration.loop.service import GatesChangedError, UnreadableRecordError  # noqa: PLC0415
    from calibration.settings import KafkaSettings  # noqa: PLC0415

    with _refusals():
        try:
            return act(KafkaSettings(), taxonomy, change)
        except (ByHandRefusedError, GatesChangedError, UnreadableRecordError) as error:
            raise _failure(str(error), 1) from error


def described(rollout: Rollout, steps: int) -> Iterator[str]:
    """A rollout in lines for a person."""
    summary = _summary(rollout)
    yield f"live       {_live(rollout)}"
    if summary["expires_at"]:
        yield f"           until {summary['expires_at']}, unless it is renewed"
    if rollout.candidate is not None:
        yield f"to come    {rollout.candidate.gate_id} in {rollout.candidate.stage.value}"
    yield f"policy     {summary['policy']}"
    for step in rollout.steps[-steps:]:
        yield f"{step.at:%Y-%m-%d %H:%M:%S}  {step.kind.value}  {step.gate_id}"
        yield from (f"           {reason}" for reason in step.reasons)


def _live(rollout: Rollout) -> str:
    summary = _summary(rollout)
    return f"{summary['live']}, {summary['passes']}"


def _summary(rollout: Rollout) -> dict[str, Any]:
    from calibration.loop.advance import coverage  # noqa: PLC0415

    covered = coverage(rollout.live)
    return {
        "live": rollout.live.gate_id,
        "passes": f"certified for {covered:.1%} of the traffic" if covered else "closed: everything goes to review",
        "coverage": round(covered, 4),
        "candidate": None if rollout.candidate is None else rollout.candidate.gate_id,
        "stage": None if rollout.candidate is None else rollout.candidate.stage.value,
        "policy": rollout.live.policy_version,
        "expires_at": None if rollout.live.expires_at is None else f"{rollout.live.expires_at:%Y-%m-%d %H:%M} UTC",
        "last_step": rollout.steps[-1].kind.value,
        "sequence": rollout.sequence,
    }


@contextmanager
def _refusals() -> Iterator[None]:
    """What goes wrong with settings, Kafka or the ledger is said to a person, without a traceback."""
    from kafka.errors import KafkaError  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from calibration.ledger.place import LedgerError  # noqa: PLC0415
    from calibration.ledger.topic import TopicGapError  # noqa: PLC0415

    try:
        yield
    except ValidationError as error:
        raise _failure(f"A setting is wrong. {error}\n`tidegate doctor --settings` explains all of them.", 2) from error
    except (LedgerError, TopicGapError) as error:
        raise _failure(str(error), 1) from error
    except KafkaError as error:
        raise _failure(f"Kafka: {error!r}. `tidegate doctor` says more.", 1) from error


def _failure(sentence: str, code: int) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)
