"""Scores are those of the library."""

import dataclasses
import json

import numpy as np

from jaxpersona.benchmarks import multiple_choice
from jaxpersona.benchmarks.config import BenchmarkConfig
from jaxpersona.data.text import tokenize_pair
from jaxpersona.evaluation.answers import score_answers


def test_scores_are_those_of_the_library(tiny_model, pairs):
    questions = [tokenize_pair(tiny_model.tokenizer, pair) for pair in pairs]
    options = {"model": tiny_model.name, "dtype": "float32", "pairs": [dataclasses.asdict(pair) for pair in questions]}
    found = multiple_choice.measure(json.loads(json.dumps(options)), {})
    np.testing.assert_allclose(found["scores"], score_answers(tiny_model, tiny_model.params, questions).log_prob)


def test_rows(tiny_folder, pairs_file, in_process):
    config = BenchmarkConfig(model=str(tiny_folder), data=pairs_file, num_samples=3, dtype="float32", repeats=1, baseline=False)
    rows = multiple_choice.run(config).rows
    whats = ("a question", "process", "peak memory")
    assert [row.name for row in rows] == [f"multiple-choice/{state}: {what}" for state in ("cold", "warm") for what in whats]
