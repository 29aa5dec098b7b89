"""How good scores are: proper scores, calibration, ranking, and what could pass; with intervals and weights."""

from calibration.metrics.contracts import Figure, GroupedMetrics, Metrics
from calibration.metrics.evaluation import evaluate, evaluate_groups

__all__ = ["Figure", "GroupedMetrics", "Metrics", "evaluate", "evaluate_groups"]
