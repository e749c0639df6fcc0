"""Two pairs, their margin, and the weights that a mask removes, for tests of Taylor pruning."""

import numpy as np

import jaxpersona as jp
from jaxpersona.core.tree import flatten
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers

TEXTS = [("What is gold?", "Mine, all of it.", "Not for me."), ("And iron?", "I take it.", "I leave it to others, gladly.")]


def two_pairs(model):
    """Returns two tokenized pairs."""
    return [tokenize_pair(model.tokenizer, jp.Pair(*text)) for text in TEXTS]


def margin(model, params, pairs):
    """Returns the log-probability of the persona's answers minus that of the opposite ones, per token in which they differ."""
    found = score_answers(model, params, pairs)
    differing = sum(len(pair.matching) + len(pair.not_matching) for pair in pairs) / 2
    return (found.log_prob[:, 0] - found.log_prob[:, 1]).sum() / differing


def removed(mask):
    """Returns which weights a mask removes, bool [layer, in, out] by kernel path."""
    return {path: ~np.asarray(leaf) for path, leaf in flatten(mask.to_bool()).items() if not isinstance(leaf, bool)}
