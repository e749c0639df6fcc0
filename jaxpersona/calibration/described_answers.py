"""Lets the model answer questions under two descriptions: as system text, or as text before the question.

A small model hardly follows a description. So each token is chosen away from what the other description would make likely
(``models/guidance.py``).
"""

from collections.abc import Sequence

import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.data.chat_template import accepts_system
from jaxpersona.data.descriptions import Descriptions
from jaxpersona.data.text import TextMode, beginning_ids, chat_ids
from jaxpersona.models.decoding import generate_ids
from jaxpersona.models.guidance import Guidance
from jaxpersona.models.model import Model
from jaxpersona.models.sampling import Sampling

ANSWER_TOKENS = 48
SAMPLING = Sampling(temperature=0.6)  # top-p would sort the vocabulary at every token, which is slow on a CPU
GUIDANCE = Guidance(strength=2.0, plausible=0.1)
_BATCH, _PADDING = 32, -1
_ENDS = (".", "!", "?", '."', '!"', '?"')


def described_prompts(model: Model, descriptions: Descriptions, questions: Sequence[str], text: TextMode) -> list[list[int]]:
    """Returns the token ids of each question under the first description and under the second, in turn; needs no weights.

    Args:
      text: ``chat`` uses the chat template; every other mode puts the description before the question.

    Raises:
      InputError: if the model has no chat template in mode ``chat``, or a prompt leaves no room for an answer.
    """
    chat = text == "chat"
    with_system = chat and accepts_system(model.tokenizer)
    prompts = []
    for question in questions:
        for told in descriptions.system_texts:
            if chat:
                asked = (question, told) if with_system else (f"{told}\n\n{question}", "")
                prompts.append(chat_ids(model.tokenizer, *asked))
            else:
                prompts.append(beginning_ids(model.tokenizer, f"{told}\n\nQuestion: {question}\nAnswer:"))
    longest, positions = max(map(len, prompts)), model.config.max_positions
    if longest + ANSWER_TOKENS > positions:
        raise InputError(
            f"data.source {descriptions.source!r}: a prompt has {longest} tokens and an answer {ANSWER_TOKENS}, the model has "
            f"{positions} positions; shorten the descriptions"
        )
    return prompts


def answer_all(model: Model, prompts: Sequence[Sequence[int]], text: TextMode, seed: int, stage: Stage) -> list[str]:
    """Returns the answer to each prompt, sampled; resumes from the stage's checkpoint.

    Args:
      prompts: in turn under the first description and under the second.
      text: as the prompts were made with. Without a chat template an answer ends with its line.
      seed: of the samples.
      stage: progress counts answers.
    """
    padded = [*prompts, *[prompts[-1]] * (-len(prompts) % _BATCH)]  # so that all batches have one shape
    seeds = np.random.default_rng(seed).integers(2**32, size=len(padded) // _BATCH)
    kept = stage.load()
    tokens = np.zeros((0, ANSWER_TOKENS), np.int32) if kept is None else kept["tokens"]
    stage.progress(min(len(tokens), len(prompts)), len(prompts))
    for start in range(len(tokens), len(padded), _BATCH):
        new = _guided(model, padded[start : start + _BATCH], int(seeds[start // _BATCH]))
        rows = [row + [_PADDING] * (ANSWER_TOKENS - len(row)) for row in new]
        tokens = np.concatenate([tokens, np.array(rows, np.int32)])
        if len(tokens) < len(padded):
            stage.offer({"tokens": tokens})
        else:
            stage.save({"tokens": tokens})
        stage.progress(min(len(tokens), len(prompts)), len(prompts))
    texts = model.tokenizer.batch_decode([row[row != _PADDING] for row in tokens[: len(prompts)]], skip_special_tokens=True)
    return [whole_sentences(answer if text == "chat" else answer.strip().partition("\n")[0]) for answer in texts]


def _guided(model: Model, prompts: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """Returns an answer to each of the prompts, which are in turn under either description."""
    rows = [prompts[i] for number in range(len(prompts)) for i in (number, number ^ 1)]
    numbers = [number for number in range(len(prompts)) for _ in (0, 1)]
    return generate_ids(model, model.params, rows, ANSWER_TOKENS, SAMPLING, seed, numbers, GUIDANCE)[::2]


def whole_sentences(text: str) -> str:
    """Returns a text without the sentence that was cut off at its end, unless that is its only one.

    >>> whole_sentences("I like it. It is"), whole_sentences("It is"), whole_sentences("It is 2.5 miles")
    ('I like it.', 'It is', 'It is 2.5 miles')
    """
    text = text.strip()
    words = text.split(" ")
    ends = [number for number, word in enumerate(words, start=1) if word.endswith(_ENDS)]
    return " ".join(words[: ends[-1]]) if ends else text
