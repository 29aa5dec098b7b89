"""Label sets as configuration: one YAML file a taxonomy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, field_validator

from calibration.contract import Contract

SHIPPED = Path(__file__).parent / "taxonomies"


class TaxonomyError(ValueError):
    """A taxonomy file cannot be used; the message names the file and says why."""


class Taxonomy(Contract):
    """A closed set of labels and the question that chooses among them."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    question: str = "Which emotion might this image evoke?"
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=128)]
    """In the order of the prompt and of the console's keys; lower case, one word each."""

    @field_validator("labels")
    @classmethod
    def _distinct_words(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not label.isalpha() or label != label.lower():
                raise ValueError(f"label {label!r} must be one lower-case word")
        if len(set(labels)) != len(labels):
            raise ValueError("labels must be distinct")
        return labels


def load_taxonomies(*folders: Path) -> Mapping[str, Taxonomy]:
    """Read every `*.yaml` of the folders (default: the shipped ones), by name; a later folder replaces an earlier name.

    Raises:
        TaxonomyError: a file is not readable as a taxonomy, or two files of one folder have the same name.
    """
    found: dict[str, Taxonomy] = {}
    for folder in folders or (SHIPPED,):
        here: dict[str, Taxonomy] = {}
        for path in sorted(folder.glob("*.yaml")):
            try:
                taxonomy = Taxonomy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
            except (yaml.YAMLError, ValidationError, OSError, UnicodeDecodeError) as error:
                raise TaxonomyError(f"{path}: not a taxonomy: {error}") from error
            if taxonomy.name in here:
                raise TaxonomyError(f"{path}: a second taxonomy named {taxonomy.name!r} in {folder}")
            here[taxonomy.name] = taxonomy
        found |= here
    return found
