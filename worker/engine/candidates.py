"""How much a model believed each candidate label, read off the tokens where its answer starts.

A label's first token may be merged with what stands before it: Qwen writes `<answer>anger` as `answer`, `>`, `anger`,
but `<answer>fear` as `answer`, `>f`, `ear`. So the candidates are followed from the `>` on, token by token, along the
path that the model took. Each token it could have written there instead leads to one candidate, whose probability that
settles, or to several, of which only the sum is known.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_CONTEXT = "</analysis></think><answer>"
_START = re.compile(r"<answer>[\s{}\[\]()'\"`*.,;:!]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CandidateProbabilities:
    """Unnormalised probabilities; together at most 1."""

    known: Mapping[str, float]
    """By label. A label that is in neither part was not among the tokens that the engine reported."""
    shared: float
    """Of all labels that could not be told apart on this path."""


@dataclass(frozen=True, slots=True)
class BranchingTokens:
    """The tokens at which the candidates' spellings part ways."""

    ids: tuple[int, ...]
    together: tuple[tuple[str, ...], ...]
    """Groups of labels that start with the same token: told apart only when the answer is one of them."""


def branching_tokens(encode: Callable[[str], Sequence[int]], labels: Sequence[str]) -> BranchingTokens:
    """Follow the tokenizer's spelling of each label in an answer; `encode` adds no special tokens of its own."""
    spellings = {label: tuple(encode(f"{_CONTEXT}{label}</answer>")) for label in labels}
    ids: dict[int, None] = {}
    together: list[tuple[str, ...]] = []
    level, at = [tuple(labels)], 0
    while level:
        deeper: list[tuple[str, ...]] = []
        for group in level:
            by_token: dict[int, list[str]] = defaultdict(list)
            for label in group:
                by_token[spellings[label][at]].append(label)
            if len(by_token) > 1:
                ids |= dict.fromkeys(by_token)
                if len(group) == len(labels):
                    together = [tuple(sharing) for sharing in by_token.values() if len(sharing) > 1]
            deeper += [tuple(sharing) for sharing in by_token.values() if len(sharing) > 1]
        level, at = deeper, at + 1
    return BranchingTokens(tuple(ids), tuple(together))


def candidate_probabilities(
    pieces: Sequence[str], alternatives: Callable[[int], Mapping[str, float]], labels: Sequence[str]
) -> CandidateProbabilities | None:
    """The probability of each label where the answer starts.

    Args:
        pieces: the text of each token that the model wrote.
        alternatives: for the token at an index, the probability of each text that it could have been, its own included.
        labels: the candidates, lower case.

    Returns:
        None when there is no such place, or the model did not write a candidate there.
    """
    text = "".join(pieces)
    starts = list(_START.finditer(text))
    if not starts:
        return None
    start, label_start = starts[-1].start() + len("<answer"), starts[-1].end()
    offset, index = len(text), len(pieces)
    while offset > start and index > 0:  # from the end, to the first token that begins at or behind the `>`
        if offset - len(pieces[index - 1]) < start:
            break
        index -= 1
        offset -= len(pieces[index])
    if offset > label_start:
        return None
    known: dict[str, float] = defaultdict(float)
    shared = 0.0
    path = 1.0
    ahead = {label: f"{text[offset:label_start]}{label}<" for label in labels}
    while index < len(pieces):
        chosen, step, takers = pieces[index], 0.0, dict[str, str]()
        for piece, probability in alternatives(index).items():
            fitting = [label for label, rest in ahead.items() if piece and _continues(piece, rest)]
            if len(fitting) == 1:
                known[fitting[0]] += path * probability
            elif fitting and piece != chosen:
                shared += path * probability
            if piece == chosen:
                step, takers = probability, {label: ahead[label][len(piece) :] for label in fitting}
        if len(takers) < 2:
            return CandidateProbabilities(dict(known), shared) if takers else None
        path *= step
        ahead = takers
        index += 1
    return None


def _continues(piece: str, rest: str) -> bool:
    return rest.startswith(piece) or piece.startswith(rest)
