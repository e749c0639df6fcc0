"""Uncertainty of accuracies and of paired differences."""

import numpy as np
import scipy.stats


def accuracy_interval(correct: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy; half a point for a tie counts as such.

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
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(0, len(difference), (resamples, len(difference)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided McNemar p-value: whether two scorers err on the same items equally often; ties of either are left out."""
    decided = (first != 0.5) & (second != 0.5)
    gained = int(((first > second) & decided).sum())
    lost = int(((first < second) & decided).sum())
    return 1.0 if gained + lost == 0 else float(scipy.stats.binomtest(gained, gained + lost, 0.5).pvalue)
