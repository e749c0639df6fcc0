"""How masks were found, for controls and baselines that are to be found in the same way from the same pairs."""

import dataclasses

from jaxpersona.core.protocol import STRICT, Protocol
from jaxpersona.data.pairs import Pairs
from jaxpersona.data.text import TextMode
from jaxpersona.methods.method import Method


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What masks were found from, and how.

    Attributes:
      pairs: the calibration pairs that were drawn.
      personas: the persona of the matching answers, and its opposite.
      method: how weights were scored.
      text: what the model read (see ``data/text.py``).
      max_length: texts were cut at this many tokens.
      protocol: the experimental choices it was done by.
    """

    pairs: Pairs
    personas: tuple[str, str]
    method: Method
    text: TextMode
    max_length: int
    protocol: Protocol = STRICT
