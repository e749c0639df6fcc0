"""Text that the model writes itself: neutral calibration data for any model, without a data set (Liu et al., LLM-QAT, 2023).

Its tokens are drawn from the model's own distribution, so that squared gradients on it estimate the Fisher information itself.
"""

import dataclasses

import numpy as np

from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling

TEXTS, LENGTH = 48, 128


def write(model: Model, texts: int = TEXTS, length: int = LENGTH, seed: int = 42) -> np.ndarray:
    """Texts of ``length`` tokens, each from a random first token on at temperature 1, int32 [texts, length].

    A text starts with BOS where the model's tokenizer starts texts so, and does not end at an end of turn.
    """
    prompts = beginnings(model, texts, seed)
    endless = dataclasses.replace(model, eos_ids=())
    new = generate_ids(endless, model.params, prompts, length - len(prompts[0]), Sampling(temperature=1.0), seed)
    return np.array([prompt + row for prompt, row in zip(prompts, new, strict=True)], np.int32)


def beginnings(model: Model, texts: int, seed: int) -> list[list[int]]:
    """What each text starts with: BOS, where the tokenizer starts texts so, and a random ordinary token; all of one length."""
    start = model.tokenizer.encode("")[:1]
    special = np.array(model.tokenizer.all_special_ids, int)
    ordinary = np.setdiff1d(np.arange(len(model.tokenizer)), special)
    return [[*start, int(token)] for token in np.random.default_rng(seed).choice(ordinary, texts)]
