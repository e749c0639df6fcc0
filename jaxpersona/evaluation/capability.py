"""Scores of lm-eval's tasks, and what a mask changes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpersona.evaluation.significance import difference_interval

_NORMAL_95 = 1.96
_SETTING = ("system_instruction_sha", "chat_template_sha", "fewshot_as_multiturn")


def scores(results: Mapping[str, Any], samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Returns the first metric of every task and group of tasks.

    Args:
      results: contents of lm-eval's file of results.
      samples: rows of its files of samples, by task.

    Returns:
      By task, JSON values: ``metric``, ``value``, ``stderr`` (None if unknown), ``n`` questions, ``version`` of the task,
      ``setting``, what the questions stood behind, and ``samples``, the values by question where they are known and ``value`` is
      their mean, unlike perplexity.
    """
    found = {}
    for task, values in results["results"].items():
        names = [name for name, value in values.items() if "," in name and "_stderr," not in name and isinstance(value, float)]
        count = _questions(results, task)
        if names and count:
            metric, _, sort = names[0].partition(",")
            value, error = values[names[0]], values.get(f"{metric}_stderr,{sort}")
            found[task] = {
                "metric": metric,
                "value": value,
                "stderr": error if isinstance(error, float) else None,
                "n": count,
                "version": results.get("versions", {}).get(task),
                "setting": {"num_fewshot": results.get("n-shot", {}).get(task), **{key: results.get(key) for key in _SETTING}},
                "samples": _values(samples.get(task, ()), metric, sort, value),
            }
    return found


def _questions(results: Mapping[str, Any], task: str) -> int:
    """Returns the number of questions of a task, or of all tasks of a group."""
    if task in results["n-samples"]:
        return int(results["n-samples"][task]["effective"])
    return sum(_questions(results, part) for part in results.get("group_subtasks", {}).get(task, ()))


def _values(rows: Sequence[Mapping[str, Any]], metric: str, sort: str, value: float) -> dict[str, float]:
    """Returns the values by question, named by its number and text; none if ``value`` is not their mean."""
    own = [row for row in rows if row.get("filter", sort) == sort and isinstance(row.get(metric), int | float)]
    found = {f"{row['doc_id']}-{row['doc_hash'][:8]}": float(row[metric]) for row in own}
    return found if found and np.isclose(np.mean(list(found.values())), value) else {}


def comparison(own: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what a mask changes of a task's score.

    Args:
      own, base: entries of ``scores``, under the mask and of the base model; None if the base model was not measured.

    Returns:
      JSON values: ``base`` (its score), ``difference``, its 95 % interval ``ci95``, and ``paired``, the number of questions that
      both answered. With fewer than two of these the interval follows from the standard errors and ``paired`` is 0. Empty without
      a score of the base model on the same version and metric, in the same setting.
    """
    if base is None or any(own.get(key) != base.get(key) for key in ("metric", "version", "setting")):
        return {}
    shared = sorted(own["samples"].keys() & base["samples"].keys())
    if len(shared) > 1:
        first, second = (np.array([case["samples"][key] for key in shared]) for case in (own, base))
        difference, ci95 = float((first - second).mean()), difference_interval(first, second)
        return {"base": float(second.mean()), "difference": difference, "ci95": ci95, "paired": len(shared)}
    difference, reach = own["value"] - base["value"], None
    if own["stderr"] is not None and base["stderr"] is not None:
        reach = _NORMAL_95 * float(np.hypot(own["stderr"], base["stderr"]))
    between = None if reach is None else (difference - reach, difference + reach)
    return {"base": base["value"], "difference": difference, "ci95": between, "paired": 0}
