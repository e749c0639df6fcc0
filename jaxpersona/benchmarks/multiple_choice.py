"""Times the scoring of both answers of held-out questions: in batches here, one answer after another in PyTorch."""

import dataclasses
from typing import Any

import numpy as np

from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.benchmarks.measurements import Measurements
from jaxpersona.benchmarks.sides import (
    NOT_RUN,
    TORCH,
    both_texts,
    draw_pairs,
    load,
    our_side,
    take_turns,
    torch_sides,
    torch_versions,
)
from jaxpersona.core.timing import timed
from jaxpersona.data.text import TokenizedPair, tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.models.model_files import open_files


def run(config: BenchmarkConfig) -> Measurements:
    """Measures seconds per question and process and peak memory, with an empty compilation cache and with the filled one."""
    opened, pairs = open_files(config.model), draw_pairs(config.data, "test", config.num_samples)
    tokenized = [tokenize_pair(opened.tokenizer, pair) for pair in pairs]
    both = zip(pairs, tokenized, strict=True)
    questions = [{"texts": both_texts(opened.tokenizer, pair), "answer_start": ids.answer_start} for pair, ids in both]
    theirs = torch_sides(config, opened, "multiple_choice", {"questions": questions})
    options = {"model": str(opened.path), "dtype": config.dtype, "pairs": [dataclasses.asdict(pair) for pair in tokenized]}
    ours = {state: our_side("multiple_choice", options, cold=state == "cold") for state in ("cold", "warm")}
    runs = take_turns(config.repeats, {**ours, **theirs})
    measured = Measurements("multiple-choice", torch_versions(runs))
    torch = runs.get(TORCH, NOT_RUN)
    for state in ours:
        measured.compare(f"{state}: ", runs[state].values, torch.values)
        measured.compare(f"{state}: ", {what: runs[state].process[what] for what in ("process", "peak memory")}, torch.process)
    if theirs:
        margins = [scores[:, 0] - scores[:, 1] for scores in (np.array(runs[side].result["scores"]) for side in ("warm", TORCH))]
        measured.add("same choice as PyTorch", "of 1", [float(np.mean((margins[0] > 0) == (margins[1] > 0)))])
        measured.add("median difference of margins", "nats", [float(np.median(np.abs(margins[0] - margins[1])))])
    return measured


def measure(options: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Scores both answers of the tokenized ``pairs``; ``scores`` [pairs, 2] are summed log-probabilities in nats."""
    model = load(options, seconds)
    pairs = [TokenizedPair(**pair) for pair in options["pairs"]]
    with timed(seconds, "score"):
        scores = score_answers(model, model.params, pairs)
    return {"values": {"a question": ("s", [seconds["score"] / len(pairs)])}, "scores": scores.log_prob.tolist()}
