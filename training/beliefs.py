"""What a model believes of each label where its answer names one, read off the same tokens as when it serves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.dialogue import Dialogue
from worker.engine.candidates import branching_tokens, candidate_probabilities
from worker.reading.signals import label_distribution
from worker.reading.taxonomy import Taxonomy

Floats = NDArray[np.float64]
_UNSETTLED = 0.01
"""Probability of labels that share their first tokens, above which a belief is no distribution over labels."""


class Forks:
    """The tokens at which the spellings of a dialogue's labels part ways."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        branching = {
            name: branching_tokens(dialogue.encode, taxonomy.labels).ids
            for name, taxonomy in dialogue.taxonomies.items()
        }
        self.ids = sorted({token for ids in branching.values() for token in ids})
        """Of all taxonomies together, m of them."""
        self._places = {
            name: [(self.ids.index(token), dialogue.piece(token)) for token in ids] for name, ids in branching.items()
        }

    def belief(self, probabilities: Tensor, ids: Tensor, taxonomy: str) -> Floats | None:
        """(n_labels,), in the taxonomy's order, sums to 1; None where it cannot be told.

        Args:
            probabilities: (tokens, m) of the forks' tokens at each place of an answer.
            ids: (tokens,) what was written there.
        """
        places = self._places[taxonomy]

        pieces = [self._dialogue.piece(token) for token in ids.tolist()]

        def alternatives(index: int) -> dict[str, float]:
            found = {piece: float(probabilities[index, place]) for place, piece in places}
            return {pieces[index]: 1.0} | found  # between forks a spelling goes only one way

        known = self._dialogue.taxonomies[taxonomy]
        found = candidate_probabilities(pieces, alternatives, known.labels)
        return None if found is None else normalised(found.known, found.shared, known)


def normalised(known: Mapping[str, float], shared: float, taxonomy: Taxonomy) -> Floats | None:
    """(n_labels,) in their order, sums to 1; None where some labels could not be told apart."""
    distribution = label_distribution(known, shared, taxonomy.labels)
    if distribution is None or distribution.shared > _UNSETTLED:
        return None
    rest = distribution.shared / len(taxonomy.labels)
    belief = np.array([distribution.probabilities.get(label, 0.0) + rest for label in taxonomy.labels])
    return np.asarray(belief / belief.sum())
