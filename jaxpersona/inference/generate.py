"""Generates text under one persona, without an engine."""

from collections.abc import Sequence

from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_seed
from jaxpersona.data.text import beginning_ids, chat_ids
from jaxpersona.inference.requests import check_system, continuation
from jaxpersona.masks.masks import apply_mask
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model
from jaxpersona.models.persona import Persona
from jaxpersona.models.sampling import Sampling

MAX_NEW_TOKENS = 64


def generate(
    model: Model,
    prompts: Sequence[str],
    persona: Persona | None = None,
    *,
    gamma: float = 0.0,
    max_new_tokens: int = MAX_NEW_TOKENS,
    sampling: Sampling | None = None,
    chat: bool = True,
    system: str = "",
    seed: int = 42,
) -> list[str]:
    """Generates a continuation of each prompt under one persona.

    Args:
      persona: masks or steering vectors to apply; None selects the base model.
      gamma: fraction of its value that a removed weight keeps (Eq. 7), or that a steering vector loses.
      max_new_tokens: maximum tokens per prompt; a row ends earlier at an end-of-turn token.
      sampling: greedy by default.
      chat: puts prompts (and ``system``) into the model's chat template; False continues the raw text.
      system: system text before each prompt.
      seed: of sampling. Row i draws from its own stream, independent of the other prompts.

    Returns:
      The new text of each prompt, without special tokens.

    Raises:
      InputError: if the seed is out of range, if a prompt is empty or leaves no room within the model's positions, if gamma is
        outside [0, 1) or given without a persona, if ``system`` is given and ``chat`` is False, or if the masks do not fit the
        model.
    """
    check_seed(seed)
    rows = prompt_rows(model, prompts, max_new_tokens, chat, system)
    if not rows:
        return []
    if persona is None and gamma:
        raise InputError(f"gamma is {gamma}, but no persona is given for it to soften")
    params = model.params if persona is None else apply_mask(model.params, persona, gamma)
    new = generate_ids(model, params, rows, max_new_tokens, sampling or Sampling(), seed)
    return [continuation(model.tokenizer, [] if chat else row, ids) for row, ids in zip(rows, new, strict=True)]


def prompt_rows(
    model: Model, prompts: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS, chat: bool = True, system: str = ""
) -> list[list[int]]:
    """Returns the token ids of prompts, for arguments as of ``generate``; of the model no parameters are needed.

    Raises:
      InputError: if a prompt is empty or leaves no room within the model's positions, or ``system`` is given without ``chat``.
    """
    check_system(chat, system)
    rows = [_prompt_ids(model, prompt, chat, system) for prompt in prompts]
    longest = max(map(len, rows), default=0)
    room = model.config.max_positions - longest
    if max_new_tokens < 1 or room < max_new_tokens:
        raise InputError(
            f"max_new_tokens is {max_new_tokens}, but the longest prompt has {longest} tokens and the model has "
            f"{model.config.max_positions} positions; between 1 and {max(room, 0)} new tokens are possible"
        )
    return rows


def _prompt_ids(model: Model, prompt: str, chat: bool, system: str) -> list[int]:
    if not prompt.strip():
        raise InputError("a prompt is empty; give some text")
    return chat_ids(model.tokenizer, prompt, system) if chat else beginning_ids(model.tokenizer, prompt)
