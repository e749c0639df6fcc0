"""Contrastive Taylor pruning a layer at a time: the evidence and the masks are those of the model in memory."""

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.calibration import generated_text, generated_text_streamed, taylor_statistics_streamed
from jaxpersona.core.checkpoints import NOWHERE
from jaxpersona.core.memmap import Scratch
from jaxpersona.core.progress import silent
from jaxpersona.methods.methods import FirstOrder
from jaxpersona.methods.taylor import collect_evidence
from jaxpersona.data.neutral_text import read_text
from jaxpersona.models.perplexity import perplexity, windows


@pytest.fixture(scope="module")
def streamed(tiny_folder):
    return jp.load_streamed(str(tiny_folder), "float32")


def test_own_text_is_that_of_the_model_in_memory(tiny_model, streamed):
    steps = []
    found = generated_text_streamed.write(streamed, 5, 24, seed=3, progress=lambda *step: steps.append(step))
    np.testing.assert_array_equal(found, generated_text.write(tiny_model, 5, 24, seed=3))
    assert steps[-1] == (24, 24)


def test_evidence_is_that_of_the_model_in_memory(tiny_model, streamed, pairs):
    calibration = jp.calibrate(streamed, pairs)
    expected = collect_evidence(tiny_model, calibration.tokenized)
    found = taylor_statistics_streamed.collect_evidence(streamed, calibration, Scratch(streamed, NOWHERE), silent)
    for ours, theirs in ((found.margin, expected.margin), (found.factors, expected.factors)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), ours, theirs)


@pytest.mark.parametrize(
    "method",
    [FirstOrder(sparsity=0.05), FirstOrder(max_perplexity_increase=0.05), FirstOrder(sparsity=0.02, select="q_proj,mlp@1-2")],
    ids=["share", "budget", "selected"],
)
def test_masks_are_those_of_the_model_in_memory(tiny_model, streamed, pairs, method):
    found, expected = (jp.discover(model, pairs, method).masks for model in (streamed, tiny_model))
    for persona, mask in expected.items():
        assert jp.jaccard(found[persona], mask) >= 0.9999
        assert jp.jaccard(~found[persona], ~mask) >= 0.99
        assert mask.kept() < 0.999


def test_budget_is_kept(tiny_model, streamed, pairs):
    masks = jp.discover(streamed, pairs, FirstOrder(max_perplexity_increase=0.03)).masks
    tokens = windows(tiny_model, read_text("builtin:neutral"), 2048)
    base = perplexity(tiny_model, tiny_model.params, tokens)
    for mask in masks.values():
        assert perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) <= 1.0301 * base


def test_a_selector_that_matches_nothing_is_refused_before_the_work(streamed, pairs, monkeypatch):
    monkeypatch.setattr(generated_text_streamed, "write", None)
    with pytest.raises(jp.InputError, match="layers 7 match nothing"):
        jp.discover(streamed, pairs, FirstOrder(select="mlp@7"))
