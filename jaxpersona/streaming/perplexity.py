"""Perplexity of a model whose weights are read a layer at a time, under any number of personas in one pass."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.data.packing import whole_rows
from jaxpersona.language_modelling import next_nll
from jaxpersona.masks import Persona
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.models.weights import Params
from jaxpersona.progress import Progress, silent
from jaxpersona.streaming.forward import States, embed, flag_of, layer_step, logits
from jaxpersona.streaming.personas import at_head, in_layer


@dataclasses.dataclass(frozen=True)
class Windows:
    """Text on its way through a model under one persona.

    Attributes:
      decoder: the model's.
      tokens: int32 [n, length] from ``language_modelling.windows``.
      states: of each window, the residual stream [1, length - 1, hidden] before the next layer.
    """

    decoder: Decoder
    tokens: np.ndarray
    states: States

    @classmethod
    def start(cls, model: StreamedModel, tokens: np.ndarray) -> "Windows":
        """Before the first layer."""
        return cls(model.decoder, tokens, embed(model, model.decoder, (row[None, :-1] for row in tokens)))

    def again(self) -> "Windows":
        """The same text at the same place, to go another way from here."""
        return dataclasses.replace(self, states=list(self.states))

    def layer(self, number: int, params: Params, persona: Any = None) -> None:
        """Reads on through layer ``number``, under the persona's part in it (``personas.in_layer``)."""
        for place, batch in enumerate(whole_rows(self.tokens[:, :-1], None)):
            x, _ = layer_step(self.decoder, params, self.states[place], flag_of(self.decoder, number), batch, persona)
            self.states[place] = np.asarray(x)

    def perplexity(self, params: Params, persona: Any = None) -> float:
        """exp of the mean negative log-likelihood a token, after the last layer; ``params`` are those of ``head``."""
        rows = zip(self.states, self.tokens, strict=True)
        total = sum(float(_nll(self.decoder, params, x, row[None], persona)) for x, row in rows)
        return math.exp(total / (self.tokens.shape[0] * (self.tokens.shape[1] - 1)))


def perplexities(
    model: StreamedModel, personas: Mapping[str, Persona | None], tokens: np.ndarray, progress: Progress = silent
) -> dict[str, float]:
    """As ``language_modelling.perplexity``, under each persona (None: the model as it is), by name.

    Args:
      tokens: int32 [n, length] from ``language_modelling.windows``.
      progress: called with (layers done, layers in all).
    """
    start = Windows.start(model, tokens)
    texts = {name: start.again() for name in personas}
    for number, params in model.layers():
        for name, persona in personas.items():
            texts[name].layer(number, params, None if persona is None else in_layer(persona, number))
        progress(number + 1, model.config.num_layers)
    head = model.head()
    return {
        name: texts[name].perplexity(head, None if persona is None else at_head(persona)) for name, persona in personas.items()
    }


@functools.partial(jax.jit, static_argnums=0)
def _nll(decoder: Decoder, params: Params, x: Any, tokens: Any, persona: Any) -> jax.Array:
    """Summed negative log-likelihood of a window [1, T] from the residual stream after the last layer [1, T - 1, hidden]."""
    params = params if persona is None else persona.apply(params)
    return jnp.sum(next_nll(logits(decoder, params, x), tokens))
