"""The question put to the model: one user turn, the image first, then this text.

The wording is that of the EmoCaliber model card (arXiv 2512.15528), completed with the confidence it is cut before.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.reading.taxonomy import Taxonomy

PROMPT_VERSION = "emocaliber-1"
SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: system text, user text (after the image), and the labels that may be answered."""

    system: str
    user: str
    labels: tuple[str, ...]


def build_prompt(taxonomy: Taxonomy) -> Prompt:
    """The question for one taxonomy; the same for every image."""
    choices = ", ".join(f"'{label}'" for label in taxonomy.labels)
    user = (
        f"{taxonomy.question} Choose the most likely one from [{choices}]. Think step by step. "
        "Respond in the format: <think>{your reasoning}</think><answer>{your final answer}</answer>"
        "<confidence>{a number between 0 and 1}</confidence>"
    )
    return Prompt(system=SYSTEM, user=user, labels=taxonomy.labels)
