"""Which gate and which label sets a worker's settings ask for."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from calibration.gate import Gate, ReviewEverything, UncertifiedThreshold, closed_gate
from worker.reading.taxonomy import SHIPPED, Taxonomy, TaxonomyError, load_taxonomies
from worker.settings import GateSettings, ServingSettings


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and says what to do."""


def load_gate(settings: GateSettings, taxonomies: Mapping[str, Taxonomy]) -> tuple[Gate, bytes]:
    """The gate document that applies, and the key of the audit draw.

    Raises:
        ConfigurationError: the file is not a gate, two gates are configured, a severe label is in no taxonomy, or
            something may pass without an audit key.
    """
    now = datetime.now(UTC)
    if settings.file is not None and settings.uncertified_threshold is not None:
        raise ConfigurationError("set TIDEGATE_GATE_FILE or TIDEGATE_GATE_UNCERTIFIED_THRESHOLD, not both")
    if settings.file is not None:
        try:
            gate = Gate.model_validate_json(settings.file.read_bytes())
        except (OSError, ValidationError) as error:
            raise ConfigurationError(f"TIDEGATE_GATE_FILE {settings.file} is not a gate document: {error}") from error
    elif settings.uncertified_threshold is not None:
        rule = UncertifiedThreshold(threshold=settings.uncertified_threshold)
        terms = f"{rule.model_dump_json()} {sorted(settings.severe_labels)} {settings.audit_rate}"
        gate = Gate(
            gate_id=f"uncertified-{hashlib.sha256(terms.encode()).hexdigest()[:12]}",
            created_at=now,
            rule=rule,
            severe_labels=settings.severe_labels,
            audit_rate=settings.audit_rate,
        )
    else:
        gate = closed_gate(now)
    known = {label for taxonomy in taxonomies.values() for label in taxonomy.labels}
    if unknown := sorted(gate.severe_labels - known):
        raise ConfigurationError(f"severe labels that no taxonomy has: {', '.join(unknown)}; is one misspelt?")
    if settings.audit_key is not None:
        return gate, settings.audit_key.get_secret_value().encode()
    if isinstance(gate.rule, ReviewEverything):
        return gate, secrets.token_bytes(32)  # never drawn
    raise ConfigurationError(
        "TIDEGATE_GATE_AUDIT_KEY is not set: the audit draw needs one secret, the same on all workers "
        "(for example from `openssl rand -hex 32`)"
    )


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
