"""Makes contrastive pairs from two descriptions: the model answers questions under either, and the description is dropped."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from jaxpersona.calibration.answer_filter import fault_of
from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.calibration.described_answers import ANSWER_TOKENS, GUIDANCE, SAMPLING, answer_all, described_prompts
from jaxpersona.calibration.told_apart import told_apart
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.protocol import resolve
from jaxpersona.core.ranges import check_at_least, check_seed
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.data.descriptions import Descriptions, questions
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.text import TextMode, TokenizedPair, prompt_ids
from jaxpersona.models.model import Model
from jaxpersona.models.streamed_model import StreamedModel

FEWEST_PAIRS = 8


@dataclasses.dataclass(frozen=True)
class DescribedPairs:
    """Pairs that a model made from two descriptions.

    Attributes:
      descriptions: of the persona and of its opposite.
      train: pairs to calibrate on.
      test: pairs on other questions.
      filtered: number of answered questions that were left out, by reason: those of ``answer_filter.fault_of``, ``duplicate``, or
        ``indistinct``, if the model itself does not tell the descriptions apart by the answers (``told_apart.py``).
      seed: of the answers.
    """

    descriptions: Descriptions
    train: Pairs
    test: Pairs
    filtered: dict[str, int]
    seed: int

    def jsonl(self) -> str:
        """Returns all pairs as lines of JSON with the keys question, matching, not_matching and split."""
        rows = [
            {"question": pair.prompt, "matching": pair.matching, "not_matching": pair.not_matching, "split": split}
            for split, pairs in (("train", self.train), ("test", self.test))
            for pair in pairs
        ]
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)

    def summary(self) -> str:
        """Returns a sentence that says how many pairs there are, and why others were left out."""
        found = f"The model wrote {len(self.train)} pairs to calibrate on and {len(self.test)} to evaluate on"
        return f"{found}; left out: {_listed(self.filtered)}" if self.filtered else found

    def record(self) -> dict[str, Any]:
        """Returns how the pairs were made, JSON-ready."""
        return {
            "descriptions": [self.descriptions.first, self.descriptions.second],
            "train_pairs": len(self.train),
            "test_pairs": len(self.test),
            "filtered": self.filtered,
            "seed": self.seed,
            "answer_tokens": ANSWER_TOKENS,
            "temperature": SAMPLING.temperature,
            "guidance": dataclasses.asdict(GUIDANCE),
        }


def describe(
    model: Model,
    first: str,
    second: str,
    *,
    num_samples: int = 128,
    text: TextMode = "chat",
    seed: int = 42,
    stage: Stage = QUIET,
) -> DescribedPairs:
    """Makes pairs from two descriptions.

    The model answers built-in questions under either description, guided away from the other one. Pairs of answers that are
    alike, empty, loops or refusals, or that repeat a description, are left out. So are pairs with an answer that is not likelier
    under its own description than under the other one. Pairs to calibrate on and to evaluate on have different questions.

    Args:
      model: from ``load_model``.
      first: describes the persona; completes "You are ...", or is a text that begins with "You".
      second: describes the opposite.
      num_samples: number of pairs to calibrate on before any is left out; rounded up to a multiple of the number of questions,
        each of which is then answered several times.
      text: ``chat`` puts the description into the model's chat template; ``prompt_response`` and ``response`` put it before the
        question, for a model without a template.
      seed: of the answers.
      stage: progress counts answers; resumes from its checkpoint.

    Raises:
      InputError: if a description is missing or too long, both are equal, the model cannot be asked in this way, or fewer than 8
        pairs are left to calibrate on.
    """
    descriptions = Descriptions(first, second)
    check_seed(seed)
    check_describable(model, descriptions, text)
    asked = _asked(num_samples)
    prompts = described_prompts(model, descriptions, [question for _, question in asked], text)
    answers = answer_all(model, prompts, text, seed, stage.part("describe"))
    pairs = [Pair(question, *both) for (_, question), *both in zip(asked, answers[::2], answers[1::2], strict=True)]
    faults = _faults(model, descriptions, prompts, pairs, text, stage)
    kept = [(split, pair) for (split, _), pair, fault in zip(asked, pairs, faults, strict=True) if fault is None]
    train, test = (Pairs(descriptions.source, tuple(pair for split, pair in kept if split == part)) for part in ("train", "test"))
    filtered = dict(collections.Counter(fault for fault in faults if fault is not None))
    if len(train) < FEWEST_PAIRS:
        raise InputError(
            f"data.source {descriptions.source!r}: the model wrote {len(train)} usable pairs, at least {FEWEST_PAIRS} are needed "
            f"(left out: {_listed(filtered)}); give descriptions that differ more, or another model"
        )
    return DescribedPairs(descriptions, train, test, filtered, seed)


def _faults(
    model: Model,
    descriptions: Descriptions,
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[Pair],
    text: TextMode,
    stage: Stage,
) -> list[str | None]:
    """Returns by pair why it is left out; None if it is kept. The model compares only answers without another fault."""
    faults = [fault_of(pair, descriptions) or ("duplicate" if pair in pairs[:n] else None) for n, pair in enumerate(pairs)]
    left = [number for number, fault in enumerate(faults) if fault is None]
    asked = [prompts[2 * number + side] for number in left for side in (0, 1)]
    apart = told_apart(model, asked, [pairs[number] for number in left], text, stage.part("describe, compare"))
    for number, told in zip(left, apart, strict=True):
        faults[number] = None if told else "indistinct"
    return faults


def check_describable(model: Model, descriptions: Descriptions, text: TextMode) -> None:
    """Checks that a model can be asked under two descriptions; its weights are not used.

    Raises:
      InputError: if the model is streamed, the text mode is ``raw``, there is no chat template, or a description is too long.
    """
    where = f"data.source {descriptions.source!r}"
    if isinstance(model, StreamedModel):
        raise InputError(f"{where}: the model writes the pairs, which needs it whole in memory; leave out stream_layers")
    if text not in get_args(TextMode):
        raise InputError(f"data.text {text!r} is unknown; {nearest(text, get_args(TextMode))}")
    if text == "raw":
        raise InputError(f"{where}: data.text raw would join question and answer without a space; use prompt_response")
    described_prompts(model, descriptions, [*questions("train"), *questions("test")], text)


def _asked(num_samples: int) -> list[tuple[str, str]]:
    """Returns split and question of every pair, enough for ``num_samples`` pairs to calibrate on."""
    check_at_least(1, num_samples, "data.num_samples")
    times = -(-num_samples // len(questions("train")))
    return [(split, question) for split in ("train", "test") for question in questions(split) * times]


def placeholders(
    model: Model, descriptions: Descriptions, *, num_samples: int, text: TextMode, max_length: int, seed: int, protocol: str
) -> Calibration:
    """Returns calibration data of the shapes to expect, with answers of the greatest length; needs no weights.

    Args:
      model: with its tokenizer.
      descriptions: of the persona and of its opposite.
      num_samples, text, max_length, seed, protocol: as for ``calibrate``.

    Raises:
      InputError: as ``check_describable``, or if ``max_length`` leaves no room for answers.
    """
    check_describable(model, descriptions, text)
    asked = [question for split, question in _asked(num_samples) if split == "train"][:num_samples]
    pairs = Pairs(descriptions.source, tuple(Pair(question, "", "") for question in asked))
    prefixes = [tuple(prompt_ids(model.tokenizer, pair, text)) for pair in pairs]
    room = max_length - max(map(len, prefixes))
    if room < 1:
        raise InputError(f"data.max_length is {max_length}, which the questions fill; raise it")
    answer = (0,) * min(ANSWER_TOKENS, room)
    tokenized = tuple(TokenizedPair(prefix, answer, answer, len(prefix), room < ANSWER_TOKENS) for prefix in prefixes)
    return Calibration(model, pairs, tokenized, seed, resolve(protocol))


def _listed(filtered: Mapping[str, int]) -> str:
    """Returns the reasons, the most frequent first.

    >>> _listed({"loop": 1, "similar": 12})
    '12 similar, 1 loop'
    """
    return ", ".join(f"{number} {reason}" for reason, number in sorted(filtered.items(), key=lambda item: -item[1]))
