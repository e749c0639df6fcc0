"""Taylor masks of a streamed model are those of the model in memory."""

import pytest
from conftest import LITTLE

import jaxpersona as jp
from jaxpersona.calibration import generated_text_streamed
from jaxpersona.methods import Taylor
from jaxpersona.models.perplexity import perplexity


@pytest.mark.parametrize(
    "method",
    [Taylor(sparsity=0.05), Taylor(max_perplexity_increase=0.05), Taylor(sparsity=0.02, select="q_proj,mlp@1-2")],
    ids=["share", "budget", "selected"],
)
def test_masks_are_those_of_the_model_in_memory(tiny_model, streamed, pairs, method):
    found, expected = (jp.discover(model, pairs, method, generated=LITTLE).masks for model in (streamed, tiny_model))
    for persona, mask in expected.items():
        assert jp.jaccard(found[persona], mask) >= 0.9999
        assert jp.jaccard(~found[persona], ~mask) >= 0.99
        assert mask.kept() < 0.999


def test_budget_is_kept(tiny_model, streamed, pairs):
    masks = jp.discover(streamed, pairs, Taylor(max_perplexity_increase=0.03), generated=LITTLE).masks
    tokens = Taylor().budget_windows(tiny_model)
    base = perplexity(tiny_model, tiny_model.params, tokens)
    for mask in masks.values():
        assert perplexity(tiny_model, jp.apply_mask(tiny_model.params, mask), tokens) <= 1.0301 * base


def test_a_selector_that_matches_nothing_is_refused_before_the_work(streamed, pairs, monkeypatch):
    monkeypatch.setattr(generated_text_streamed, "generate", None)
    with pytest.raises(jp.InputError, match="layers 7 match nothing"):
        jp.discover(streamed, pairs, Taylor(select="mlp@7"))
