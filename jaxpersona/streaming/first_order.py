"""Contrastive Taylor pruning of a streamed model: every price that is tried takes one pass over the weights.

A layer's weights are chosen and, where there is a damage budget, the text it is measured on goes on through what remains of the
layer; then comes the next layer.
"""

import functools
import math
from collections.abc import Mapping
from typing import TypeVar

import jax
import numpy as np

from jaxpersona import first_order
from jaxpersona.calibration import Calibration
from jaxpersona.first_order import Evidence
from jaxpersona.masks import Masks
from jaxpersona.methods import FirstOrder
from jaxpersona.models.sites import kernels
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.progress import Report
from jaxpersona.streaming.evidence import collect_evidence
from jaxpersona.streaming.perplexity import Windows
from jaxpersona.streaming.scratch import scratch_in
from jaxpersona.streaming.words import Words

Tree = TypeVar("Tree")
Eligible = Mapping[str, np.ndarray]


def prune(model: StreamedModel, method: FirstOrder, calibration: Calibration, report: Report) -> tuple[Masks, Masks]:
    """The masks of both personas, as ``first_order.prune`` finds them from the same calibration.

    Raises:
      InputError: for single texts, selectors that match nothing, no room for temporary files, and as ``first_order.prune``.
    """
    calibration.refuse_lines()
    eligible = first_order.eligible_layers(model.params, method.select)
    with scratch_in(model.scratch) as scratch:
        evidence = collect_evidence(model, calibration, scratch, report)
        text, base = None, math.nan
        if method.max_perplexity_increase is not None:
            text = Windows.start(model, first_order.budget_windows(model, method))
            base = _perplexity(model, text.again())

        def of_persona(persona: int, name: str) -> Masks:
            found: dict[str, float] = {}

            def at_price(price: float) -> Masks:
                masks, found["perplexity"] = _walk(model, evidence, eligible, persona, price, text)
                return masks

            progress = functools.partial(report, f"budget, {name}")
            if text is None:
                return first_order.prune_share(method, at_price, progress)
            return first_order.prune_within_budget(method, at_price, lambda masks: math.log(found["perplexity"] / base), progress)

        return of_persona(0, "first persona"), of_persona(1, "second persona")


def _perplexity(model: StreamedModel, text: Windows) -> float:
    for number, params in model.layers():
        text.layer(number, params)
    return text.perplexity(model.head())


def _walk(
    model: StreamedModel, evidence: Evidence, eligible: Eligible, persona: int, price: float, text: Windows | None
) -> tuple[Masks, float]:
    """The masks of a persona at a price, and perplexity under them on ``text`` (NaN where there is none)."""
    words, text = Words(kernels(model.params), 1), text and text.again()
    for number, params in model.layers():
        which = slice(number, number + 1)
        own = Evidence(_cut(evidence.margin, which), _cut(evidence.factors, which))
        chosen = first_order.words_at_price(params, own, _cut(eligible, which), persona, price)
        for path, packed in chosen.items():
            words.put(path, number, packed, 0)
        if text is not None:
            text.layer(number, params, Masks.of(params, chosen))
    (masks,) = words.masks(model.params)
    return masks, text.perplexity(model.head()) if text is not None else math.nan


def _cut(tree: Tree, which: slice) -> Tree:
    return jax.tree.map(lambda leaf: leaf[which], tree)
