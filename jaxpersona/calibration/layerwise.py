"""Calibration texts on their way through a streamed model: statistics of one layer while its weights are in memory."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxpersona.core.tree import Params
from jaxpersona.data.packing import Batch
from jaxpersona.models import streamed_forward
from jaxpersona.models.decoder import Decoder
from jaxpersona.models.streamed_forward import SiteSums, States
from jaxpersona.models.streamed_model import StreamedModel

Reduce = Callable[[Sequence[Batch], SiteSums], Any]
"""Makes a statistic of batches and a function that returns each batch's sums by site."""


@dataclasses.dataclass(frozen=True)
class LayerCollector:
    """Runs batches through one layer after another and collects a statistic at each.

    Attributes:
      decoder: with the sums it collects at each site.
      batches: the texts.
      reduce: makes the statistic.
    """

    decoder: Decoder
    batches: Sequence[Batch]
    reduce: Reduce

    def start(self, model: StreamedModel) -> States:
        """Embeds the texts."""
        return streamed_forward.embed(model, self.decoder, (batch.tokens for batch in self.batches))

    def layer(self, number: int, params: Params, states: States) -> Any:
        """Runs layer ``number``, replaces ``states``, and returns the layer's statistic, arrays [1, persona, ...] by site."""
        return self.reduce(self.batches, streamed_forward.sums_of_layer(self.decoder, params, number, states))

    def head(self, params: Params, states: States) -> Any:
        """Returns the statistic at the head's input; ``params`` are the final norm's."""
        return self.reduce(self.batches, streamed_forward.sums_at_head(self.decoder, params, states))
