"""Generates neutral calibration text with the model itself, so that no data set is needed (Liu et al., LLM-QAT, 2023).

Its tokens are samples of the model's own distribution, so squared gradients on it estimate the Fisher information itself.
"""

import dataclasses

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.memory import return_freed_memory
from jaxpersona.data.text import opening_ids
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling


@dataclasses.dataclass(frozen=True)
class TextAmount:
    """How much text the model generates for calibration.

    Attributes:
      texts: number of texts.
      length: tokens per text, BOS and the random first token included.
    """

    texts: int = 48
    length: int = 128

    def __post_init__(self) -> None:
        if self.texts < 1 or self.length < 3:
            raise InputError(f"generated text of {self.texts} x {self.length} tokens is too little; give at least 1 x 3")


def generate(model: Model, amount: TextAmount | None = None, seed: int = 42) -> np.ndarray:
    """Generates texts at temperature 1, each from a random first token; returns int32 [texts, length].

    A text starts with BOS if the tokenizer adds one. End-of-turn tokens do not end it.

    Args:
      amount: default 48 texts of 128 tokens.
      seed: of the first tokens and of sampling.
    """
    amount = amount or TextAmount()
    prompts = beginnings(model, amount.texts, seed)
    endless = dataclasses.replace(model, eos_ids=())
    new = generate_ids(endless, model.params, prompts, amount.length - len(prompts[0]), Sampling(temperature=1.0), seed)
    return_freed_memory()
    return np.array([prompt + row for prompt, row in zip(prompts, new, strict=True)], np.int32)


def beginnings(model: Model, texts: int, seed: int) -> list[list[int]]:
    """Returns the first tokens of each text: BOS, if the tokenizer adds one, and a random ordinary token."""
    start = opening_ids(model.tokenizer)
    known = [index for index in model.tokenizer.get_vocab().values() if index < model.config.vocab_size]
    ordinary = np.setdiff1d(np.array(known), np.array(model.tokenizer.all_special_ids, int))
    return [[*start, int(token)] for token in np.random.default_rng(seed).choice(ordinary, texts)]
