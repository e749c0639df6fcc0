"""Scoring both answers of held-out questions, an option at a time in PyTorch, a batch of both with one prompt in ours."""

import dataclasses
import tempfile

import numpy as np

from jaxpersona.benchmarks import subject
from jaxpersona.benchmarks.processes import OURS, Finished, baseline, cache_in, processor, run_process
from jaxpersona.benchmarks.rows import Row, place, row
from jaxpersona.data.readers import load_pairs
from jaxpersona.data.text import tokenize_pair


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares multiple choice: time a question, time of the process, and whether both choose alike.

    Args:
      model: smollm2-135m-instruct, a Hugging Face folder, or a .gguf file
      data: builtin:NAME or a file of pairs
      num_samples: questions
      dtype: of our parameters and computation
      repeats: how often each side runs, one after the other
      output: JSON file for the rows
    """

    model: str = "smollm2-135m-instruct"
    data: str = "builtin:wealth"
    num_samples: int = 80
    dtype: str = "auto"
    repeats: int = 3
    output: str | None = None


def run(config: Config) -> list[Row]:
    """Rows ``multiple-choice/...``; ours with an empty compilation cache and then with the one it filled."""
    theirs, prepared = baseline(), subject.prepare(config.model)
    pairs = load_pairs(config.data, "test" if config.data.startswith("builtin:") else None).sample(config.num_samples, 42)
    tokenized = [tokenize_pair(prepared.model.tokenizer, pair) for pair in pairs]
    ours = {"model": prepared.path, "dtype": config.dtype, "pairs": [dataclasses.asdict(pair) for pair in tokenized]}
    questions = [
        {"texts": subject.texts(prepared.model, pair), "answer_start": ids.answer_start}
        for pair, ids in zip(pairs, tokenized, strict=True)
    ]
    runs: dict[str, list[Finished]] = {"cold": [], "warm": [], "torch": []}
    for _ in range(config.repeats):
        with tempfile.TemporaryDirectory(prefix="jaxpersona-benchmark-") as cache:
            for state in ("cold", "warm"):
                runs[state].append(run_process(OURS, "multiple_choice", ours, cache_in(cache)))
        runs["torch"].append(run_process(theirs, "multiple_choice", {"model": prepared.folder, "questions": questions}))
    found = place(processor(), runs["torch"][0].result)
    other, rows = runs["torch"], []
    for state in ("cold", "warm"):
        each, their = ([run.result["seconds"]["score"] / len(pairs) for run in side] for side in (runs[state], other))
        rows.append(row(f"multiple-choice/{state}: a question", each, their, "s", **found))
        whole, their = ([run.seconds for run in side] for side in (runs[state], other))
        rows.append(row(f"multiple-choice/{state}: process", whole, their, "s", **found))
        peak, their = ([run.result["peak"] / 1e6 for run in side] for side in (runs[state], other))
        rows.append(row(f"multiple-choice/{state}: peak memory", peak, their, "MB", **found))
    scores = [np.array(runs[side][0].result["scores"]) for side in ("warm", "torch")]
    margins = [score[:, 0] - score[:, 1] for score in scores]
    same = float(np.mean((margins[0] > 0) == (margins[1] > 0)))
    apart = float(np.median(np.abs(margins[0] - margins[1])))
    rows.append(row("multiple-choice/same choice as PyTorch", [same], [], "of 1", **found))
    rows.append(row("multiple-choice/median difference of margins", [apart], [], "nats", **found))
    return rows
