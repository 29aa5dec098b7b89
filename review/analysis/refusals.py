"""Why an analyst's question has no answer, or their act no effect. Every message is a sentence for who asked."""

from __future__ import annotations


class AnalysisError(Exception):
    """It cannot be done; the message says why."""


class NothingThereError(AnalysisError):
    """There is no such taxonomy, event, gate or proposal."""


class NotReadyError(AnalysisError):
    """The answer is being prepared: ask again soon."""
