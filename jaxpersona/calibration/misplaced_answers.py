"""Builds texts in which answers stand where they do not belong: said again, or given to another question.

A mask that makes a persona's answers likelier also makes them likelier there: the masked model loops, and drifts from the
question. So these texts are made less likely, as in unlikelihood training (Welleck et al., 2020).
"""

from collections.abc import Iterator, Sequence

from jaxpersona.core.errors import InputError
from jaxpersona.data.text import TokenizedPair, encode
from jaxpersona.models.model import Model

_PAIRS = 16
"""Both answers of so many pairs: the gradient of 32 repeated answers and of 256 have a cosine of 0.98 (SmolLM2-135M)."""


def misplaced_answers(model: Model, pairs: Sequence[TokenizedPair]) -> list[list[TokenizedPair]]:
    """Returns the answers of the first pairs behind themselves, and behind the question of another pair.

    Where questions repeat, as in sets of statements, an answer belongs to any of them, and the second kind is left out.

    Args:
      pairs: from ``tokenize_pair``.

    Returns:
      By kind, texts as pairs without a second answer: the misplaced answer is ``matching``, without the end of its turn. They are
      cut at the model's positions.

    Raises:
      InputError: if no answer fits into the model's positions twice.
    """
    first, room = pairs[:_PAIRS], model.config.max_positions
    again = list(_said_again(model, first))
    if not again:
        raise InputError(
            f"no answer of the first {len(first)} pairs fits twice into the model's {room} positions; "
            "lower data.max_length, or set method.misplaced_weight to 0"
        )
    questions = [pair.prefix[: pair.answer_start] for pair in pairs]
    if len(set(questions)) <= max(1, len(pairs) / 2):
        return [again]
    others = [next(other for other in [*questions[i + 1 :], *questions] if other != questions[i]) for i in range(len(first))]
    elsewhere = [
        _text(other, answer[: room - len(other)])
        for pair, other in zip(first, others, strict=True)
        for answer in _answers(model, pair)
        if answer and len(other) < room
    ]
    return [again, elsewhere] if elsewhere else [again]


def _said_again(model: Model, pairs: Sequence[TokenizedPair]) -> Iterator[TokenizedPair]:
    for pair in pairs:
        for answer in _answers(model, pair):
            said = [*pair.prefix[: pair.answer_start], *answer]
            text = str(model.tokenizer.decode(answer)).strip()
            again = encode(model.tokenizer, f" {text}", add_special_tokens=False)[: model.config.max_positions - len(said)]
            if text and again:
                yield _text(said, again)


def _answers(model: Model, pair: TokenizedPair) -> list[list[int]]:
    """Returns the token ids of both answers up to the end of the turn."""
    ends = {*model.eos_ids, *model.tokenizer.all_special_ids}
    whole = [[*pair.prefix[pair.answer_start :], *answer] for answer in (pair.matching, pair.not_matching)]
    return [ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))] for ids in whole]


def _text(before: Sequence[int], answer: Sequence[int]) -> TokenizedPair:
    return TokenizedPair(tuple(before), tuple(answer), (), len(before), truncated=False)
