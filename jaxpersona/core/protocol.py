"""Experimental choices, named: what the paper says, what its authors' published scripts do, and what we do by default.

The paper (Ye et al., ICLR 2026) leaves some choices open, and the scripts depart from it in others. Each field of ``Protocol`` is
one such choice; code reads fields and never asks for a protocol by name.
"""

import dataclasses
from typing import Literal

from jaxpersona.core.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One value for each choice.

    Numbers are those of the differences in the project's tests (tests/test_protocol.py).

    Attributes:
      name: strict, paper or official.
      statistics: 1, 2: ``tokens``, activation strength is E|h| and variances are those of |h|, over tokens; ``lines``, the L2
        norm over the tokens of each text, which grows with its length, and mean and population variance of these over texts.
      eps_inside_root: 2: whether eps of Eq. 8 stands inside the square root, sqrt(s + eps), or beside it, sqrt(s) + eps.
      softplus_temperature: 2: tau of Eq. 8 where the method does not set it.
      wanda_breaks_ties: 3: whether equal scores go by the Wanda score first, and then by the lower index, or by index alone.
      symmetric_sparse: 4: whether Contrastive Sparse scores channels by |mu+ - mu-| / sqrt(s+ + s- + eps), the same for both
        personas, or weights by Eq. 9.
      disjoint: 5: who keeps a weight that both personas want in Contrastive Sparse (see ``methods.ContrastiveSparse``).
      refill: 5: whether disjoint masks are refilled from one another's weights where they need more than there are, or refused.
      sparse_columns: 6: whether Sparse ranks whole input columns by their weight norm, blind to activations, or weights by Eq. 5.
      prune_head: 7: whether Wanda and Sparse mask the LM head as well. A head that is the transposed embedding is left whole: its
        mask would be one of the embedding.
      sample: 8: whether calibration texts are drawn, with a seed, or all read.
      count_bos: 8: whether a text's BOS token counts in the statistics (padding never does).
      exact_budget: 9: whether K = floor((1 - rho) n) is exact and at least 1, or int(n * (1 - rho)) in floating point.
      persona_prompt_in_evaluation: 10: whether masked models are evaluated with a persona prompt only, or with and without.
      choice_scoring: 11: how the answers of a choice are compared: by log-probability, ``sum``, ``per_token`` or ``per_byte``
        of the answer, or ``prompt_mean``, the mean over the tokens of prompt and answer.
      split_choice_ties: 11: whether a tie counts half, or goes to one option (B by ``prompt_mean``, A by ``sum``).
      bool_files: 12: whether masks are also written as one .npy file of booleans for each matrix.
    """

    name: str
    statistics: Literal["tokens", "lines"] = "tokens"
    eps_inside_root: bool = False
    softplus_temperature: float = 1.0
    wanda_breaks_ties: bool = True
    symmetric_sparse: bool = False
    disjoint: Literal["none", "argmax", "first"] = "argmax"
    refill: bool = False
    sparse_columns: bool = False
    prune_head: bool = False
    sample: bool = True
    count_bos: bool = False
    exact_budget: bool = True
    persona_prompt_in_evaluation: bool = False
    choice_scoring: tuple[Literal["sum", "per_token", "per_byte", "prompt_mean"], ...] = ("sum", "per_token", "per_byte")
    split_choice_ties: bool = True
    bool_files: bool = False


STRICT = Protocol("strict")
"""What a careful experimenter would do; the default."""
PAPER = Protocol("paper", wanda_breaks_ties=False, count_bos=True, choice_scoring=("sum",))
"""The paper's text; where it is silent, the plainest reading."""
OFFICIAL = Protocol(
    "official",
    statistics="lines",
    eps_inside_root=True,
    softplus_temperature=2.0,
    wanda_breaks_ties=False,
    symmetric_sparse=True,
    disjoint="first",
    refill=True,
    sparse_columns=True,
    prune_head=True,
    sample=False,
    count_bos=True,
    exact_budget=False,
    persona_prompt_in_evaluation=True,
    choice_scoring=("prompt_mean", "sum"),
    split_choice_ties=False,
    bool_files=True,
)
"""What the authors' scripts ``mask.py`` and ``contra.py`` do. On ties their ``topk`` takes any; here, the lowest index."""
PROTOCOLS = {protocol.name: protocol for protocol in (STRICT, PAPER, OFFICIAL)}


def resolve(protocol: str | Protocol) -> Protocol:
    """The protocol of that name, or the one given.

    Raises:
      InputError: for an unknown name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is unknown; {nearest(protocol, PROTOCOLS)}")
    return PROTOCOLS[protocol]
