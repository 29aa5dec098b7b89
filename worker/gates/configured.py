"""Which gate and which label sets a worker's settings ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from calibration.gate import Gate, UncertifiedThreshold
from calibration.policy import Stage
from worker.reading.taxonomy import SHIPPED, Taxonomy, TaxonomyError, load_taxonomies
from worker.settings import GateSettings, ServingSettings

NO_AUDIT_KEY = (
    "TIDEGATE_GATE_AUDIT_KEY is not set: the audit draw needs one secret, the same on all workers "
    "(for example from `openssl rand -hex 32`)"
)


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and says what to do."""


def configured_gate(settings: GateSettings, taxonomies: Mapping[str, Taxonomy]) -> Gate | None:
    """The gate document that the settings name or describe; None: the `gates` topic says.

    Raises:
        ConfigurationError: the file is not a gate in force, two gates are configured, a severe label is in no taxonomy
            or would be ignored, or something may pass or be drawn without an audit key.
    """
    if settings.file is not None and settings.uncertified_threshold is not None:
        raise ConfigurationError("set TIDEGATE_GATE_FILE or TIDEGATE_GATE_UNCERTIFIED_THRESHOLD, not both")
    if settings.severe_labels and settings.uncertified_threshold is None:
        raise ConfigurationError(
            "TIDEGATE_GATE_SEVERE_LABELS goes with TIDEGATE_GATE_UNCERTIFIED_THRESHOLD only: "
            "those of other gates stand in the gate's document and in its policy"
        )
    if settings.file is not None:
        gate = _gate_file(settings)
    elif settings.uncertified_threshold is not None:
        gate = _uncertified_gate(settings, settings.uncertified_threshold)
    else:
        return None
    if gate.taxonomy is not None and gate.taxonomy not in taxonomies:
        raise ConfigurationError(f"gate {gate.gate_id} speaks of the taxonomy {gate.taxonomy}, which is not configured")
    known = {label for taxonomy in taxonomies.values() for label in taxonomy.labels}
    if unknown := sorted(gate.severe_labels - known):
        raise ConfigurationError(f"severe labels that no taxonomy has: {', '.join(unknown)}; is one misspelt?")
    if settings.audit_key is None and needs_key(gate):
        raise ConfigurationError(NO_AUDIT_KEY)
    return gate


def _gate_file(settings: GateSettings) -> Gate:
    assert settings.file is not None
    try:
        gate = Gate.model_validate_json(settings.file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"TIDEGATE_GATE_FILE {settings.file} is not a gate document: {error}") from error
    if gate.stage is not Stage.FULL:
        raise ConfigurationError(
            f"TIDEGATE_GATE_FILE {settings.file} is a gate in {gate.stage.value}: only one in full can stand alone"
        )
    return gate


def _uncertified_gate(settings: GateSettings, threshold: float) -> Gate:
    rule = UncertifiedThreshold(threshold=threshold)
    terms = f"{rule.model_dump_json()} {sorted(settings.severe_labels)} {settings.audit_rate}"
    return Gate(
        gate_id=f"uncertified-{hashlib.sha256(terms.encode()).hexdigest()[:12]}",
        created_at=datetime.now(UTC),
        rule=rule,
        severe_labels=settings.severe_labels,
        audit_rate=settings.audit_rate,
    )


def needs_key(gate: Gate) -> bool:
    """Whether it may let something pass or draw an audit, now or once it has shut itself."""
    shut_rate = 0.0 if gate.policy is None else gate.policy.audit_rates.closed
    return gate.passes_anything or gate.audit_rate > 0.0 or shut_rate > 0.0


def audit_key(settings: GateSettings) -> bytes | None:
    """The secret of the audit draw and of the canary's share."""
    return None if settings.audit_key is None else settings.audit_key.get_secret_value().encode()


def configured_taxonomies(settings: ServingSettings) -> Mapping[str, Taxonomy]:
    """The shipped label sets and the operator's own, by name.

    Raises:
        ConfigurationError: a file is not a taxonomy, or the folder is none.
    """
    if settings.taxonomies is not None and not settings.taxonomies.is_dir():
        raise ConfigurationError(f"TIDEGATE_WORKER_TAXONOMIES {settings.taxonomies} is not a folder")
    folders = [SHIPPED] if settings.taxonomies is None else [SHIPPED, settings.taxonomies]
    try:
        return load_taxonomies(*folders)
    except TaxonomyError as error:
        raise ConfigurationError(str(error)) from error
