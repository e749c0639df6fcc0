"""Uncertainty of accuracies and of paired differences."""

import numpy as np
import scipy.stats


def accuracy_interval(correct: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy; half a point for a tie counts as such (SciPy's takes whole counts only).

    Args:
      correct: [items], 1 right, 0 wrong, 0.5 tie.
    """
    successes, n = correct.sum(), len(correct)
    z = scipy.stats.norm.ppf((1 + confidence) / 2)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(successes * (n - successes) / n + z**2 / 4)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def difference_interval(
    first: np.ndarray, second: np.ndarray, seed: int = 42, resamples: int = 5000, confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean paired difference of two vectors over the same items."""
    difference = first - second
    if len(difference) < 2:  # SciPy wants two items to draw from
        return float(difference.mean()), float(difference.mean())
    options = {"n_resamples": resamples, "confidence_level": confidence, "method": "percentile"}
    found = scipy.stats.bootstrap((difference,), np.mean, **options, rng=np.random.default_rng(seed)).confidence_interval
    return float(found.low), float(found.high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test: whether two scorers do better than each other on equally many of the same items.

    Where items can be half right (a tie, or letters whose orders disagree), this is the sign test that McNemar's is a case of.
    """
    gained, lost = int((first > second).sum()), int((first < second).sum())
    return 1.0 if gained + lost == 0 else float(scipy.stats.binomtest(gained, gained + lost, 0.5).pvalue)
