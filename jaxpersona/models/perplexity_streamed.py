"""Perplexity of a model whose weights are read a layer at a time, under any number of personas in one pass."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.checkpoints import NOTHING, Checkpoint
from jaxpersona.core.progress import Progress, silent
from jaxpersona.data.packing import whole_rows
from jaxpersona.masks.masks import Persona
from jaxpersona.masks.persona_parts import at_head, in_layer
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.layer_loop import State, walk
from jaxpersona.models.perplexity import next_nll
from jaxpersona.models.streamed_forward import States, embed, flag_of, layer_step, logits
from jaxpersona.models.streamed_model import StreamedModel
from jaxpersona.models.weights import Params


@dataclasses.dataclass(frozen=True)
class Windows:
    """Text on its way through a model; of each window the residual stream is [1, length - 1, hidden].

    Attributes:
      decoder: the model's ``batch_decoder``.
      tokens: int32 [n, length] from ``language_modelling.windows``.
    """

    decoder: Decoder
    tokens: np.ndarray

    def start(self, model: StreamedModel) -> States:
        """The windows before the first layer."""
        return embed(model, self.decoder, (row[None, :-1] for row in self.tokens))

    def layer(self, number: int, params: Params, states: States, persona: Any = None) -> None:
        """Reads on through layer ``number``, under the persona's part in it (``personas.in_layer``)."""
        for place, batch in enumerate(whole_rows(self.tokens[:, :-1], None)):
            x, _ = layer_step(self.decoder, params, states[place], flag_of(self.decoder, number), batch, persona)
            states[place] = np.asarray(x)

    def perplexity(self, params: Params, states: States, persona: Any = None) -> float:
        """exp of the mean negative log-likelihood a token, after the last layer; ``params`` are those of ``head``."""
        rows = enumerate(self.tokens)
        total = sum(float(_nll(self.decoder, params, states[place], row[None], persona)) for place, row in rows)
        return math.exp(total / (self.tokens.shape[0] * (self.tokens.shape[1] - 1)))


def perplexities(
    model: StreamedModel,
    personas: Mapping[str, Persona | None],
    tokens: np.ndarray,
    progress: Progress = silent,
    checkpoint: Checkpoint = NOTHING,
) -> dict[str, float]:
    """As ``language_modelling.perplexity``, under each persona (None: the model as it is), by name.

    Args:
      tokens: int32 [n, length] from ``language_modelling.windows``.
      progress: called with (layers done, layers in all).
      checkpoint: keeps where the texts are.
    """
    text = Windows(model.batch_decoder(), tokens)

    def start() -> State:
        states = text.start(model)
        return {name: dict(states) for name in personas}

    def step(number: int, params: Params, state: State) -> None:
        for name, persona in personas.items():
            text.layer(number, params, state[name], None if persona is None else in_layer(persona, number))

    states, head = walk(model, start, step, {}, checkpoint, progress), model.head()
    return {
        name: text.perplexity(head, states[name], None if persona is None else at_head(persona))
        for name, persona in personas.items()
    }


@functools.partial(jax.jit, static_argnums=0)
def _nll(decoder: Decoder, params: Params, x: Any, tokens: Any, persona: Any) -> jax.Array:
    """Summed negative log-likelihood of a window [1, T] from the residual stream after the last layer [1, T - 1, hidden]."""
    params = params if persona is None else persona.apply(params)
    return jnp.sum(next_nll(logits(decoder, params, x), tokens))
