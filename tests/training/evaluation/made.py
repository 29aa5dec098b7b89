"""Readings as an engine might give them, made up."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.outcome import ParseStatus, Reader, Signals
from training.evaluation.readings import ItemReading, Setup
from worker.engine.finish import Finish
from worker.reading.taxonomy import Taxonomy, load_taxonomies

TAXONOMIES = load_taxonomies()
SECTIONS = "<element>e</element><human>h</human><context>c</context><interaction>i</interaction><analysis>a</analysis>"


def reading(
    item_id: str,
    truth: str,
    label: str | None,
    verbal: float = 0.5,
    label_probability: float | None = None,
    *,
    taxonomy: str = "fi-2",
    probabilities: Sequence[float] | None = None,
    text: str | None = None,
) -> ItemReading:
    """What a model said of one item; without a label it cannot be read."""
    status = ParseStatus.MISSING_TAG if label is None else ParseStatus.OK
    said = f"<think>{SECTIONS}</think><answer>{label}</answer><confidence>{verbal:.2f}</confidence>"
    return ItemReading(
        item_id=item_id,
        content=f"content of {item_id}",
        taxonomy=taxonomy,
        truth=truth,
        probabilities=None if probabilities is None else tuple(probabilities),
        label=label,
        signals=Signals(
            parse_status=status,
            verbal_confidence=None if label is None else verbal,
            label_probability=None if label is None else label_probability,
        ),
        text=text if text is not None else ("" if label is None else said),
        finish=Finish.STOP,
        output_tokens=7,
    )


def setup(model: str = "m-1", *taxonomies: str, **changed: object) -> Setup:
    """Who answered; by default in the taxonomy fi-2, greedily."""
    used: dict[str, Taxonomy] = {name: TAXONOMIES[name] for name in taxonomies or ("fi-2",)}
    fields: dict[str, object] = {"temperature": 0.0, "max_tokens": 64, "retried": False, "taxonomies": used}
    reader = Reader(model=model, prompt="p-1", decoder="d-1")
    return Setup.model_validate(fields | {"reader": reader} | changed)
