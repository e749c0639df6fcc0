"""Measures the losses and the perplexity of a streamed model under any number of personas in one pass over the weights."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params
from jaxpersona.data.packing import whole_rows
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.layer_loop import State, run_layers
from jaxpersona.models.perplexity import exp, next_nll
from jaxpersona.models.persona import Persona
from jaxpersona.models.streamed_forward import States, embed, flag_of, layer_step
from jaxpersona.models.streamed_model import StreamedModel


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of text that pass through a streamed model layer by layer.

    Attributes:
      decoder: the model's ``batch_decoder``.
      tokens: int32 [n, length] from ``perplexity.windows``.
    """

    decoder: Decoder
    tokens: np.ndarray

    def start(self, model: StreamedModel) -> States:
        """Returns the embeddings of the windows, each [1, length - 1, hidden]."""
        return embed(model, self.decoder, (row[None, :-1] for row in self.tokens))

    def layer(self, number: int, params: Params, states: States, persona: Any = None) -> None:
        """Runs layer ``number`` and replaces ``states``; ``persona`` is a persona's part in the layer (``Persona.in_layer``)."""
        for place, batch in enumerate(whole_rows(self.tokens[:, :-1], None)):
            x, _ = layer_step(self.decoder, params, states[place], flag_of(self.decoder, number), batch, persona)
            states[place] = np.asarray(x)

    def losses(self, params: Params, states: States, persona: Any = None) -> np.ndarray:
        """Returns what ``perplexity.losses`` does, from the states after the last layer.

        Args:
          params: from ``StreamedModel.head``.
          states: residual streams after the last layer.
          persona: its part at the head (``Persona.at_head``).
        """
        rows = [_nll(self.decoder, params, states[place], row[None], persona) for place, row in enumerate(self.tokens)]
        return np.concatenate(rows).astype(np.float64)


def perplexities(
    model: StreamedModel, personas: Mapping[str, Persona | None], tokens: np.ndarray, stage: Stage = QUIET
) -> dict[str, float]:
    """Returns the perplexity under each persona, by name; the arguments are those of ``losses``."""
    return {name: exp(float(found.mean())) for name, found in losses(model, personas, tokens, stage).items()}


def losses(
    model: StreamedModel, personas: Mapping[str, Persona | None], tokens: np.ndarray, stage: Stage = QUIET
) -> dict[str, np.ndarray]:
    """Returns what ``perplexity.losses`` does under each persona, by name, in one pass over the weights.

    Args:
      model: whose weights stay in their files.
      personas: by name; None is the base model.
      tokens: int32 [n, length] from ``perplexity.windows``.
      stage: progress counts layers.
    """
    text = Windows(model.batch_decoder(), tokens)

    def start() -> State:
        states = text.start(model)
        return {name: dict(states) for name in personas}

    def step(number: int, params: Params, state: State) -> None:
        for name, persona in personas.items():
            text.layer(number, params, state[name], persona and persona.in_layer(number))

    states, head = run_layers(model, start, step, {}, stage), model.head()
    return {name: text.losses(head, states[name], persona and persona.at_head()) for name, persona in personas.items()}


@functools.partial(jax.jit, static_argnums=0)
def _nll(decoder: Decoder, params: Params, x: Any, tokens: Any, persona: Any) -> jax.Array:
    """Returns the losses [1, T - 1] of a window [1, T] from the residual stream after the last layer [1, T - 1, hidden]."""
    params = params if persona is None else persona.apply(params)
    hidden = decoder.apply({"params": params}, x, method="normed")
    return next_nll(decoder, params, jnp.asarray(hidden), tokens)
