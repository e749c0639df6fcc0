"""The result of an evaluation, as tables in the terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table


def print_evaluation(evaluation: dict[str, Any], personas: tuple[str, str], output_dir: str) -> None:
    """Prints the preference for the first persona's answers in every case, the separations, and what open answers were like."""
    console = Console(markup=False, emoji=False)  # names and paths may hold brackets
    console.print(_choice_table(evaluation, personas))
    if evaluation["data"]["calibration_pairs"]:
        console.print(f"Of these pairs, {evaluation['data']['calibration_pairs']} are among those the masks were found on")
    if any(row["scoring"] == "letter" for row in evaluation["results"]):
        console.print(_letter_table(evaluation, personas))
    for row in evaluation["separation"]:
        if row["scoring"] in ("sum", "letter"):
            how = f"prompt {row['prompt']}" + (", by letter" if row["scoring"] == "letter" else "")
            console.print(f"Separation, {_separation(row, how)}", soft_wrap=True)
    files = ["evaluation.json", "evaluation.csv"]
    if "open_ended" in evaluation:
        console.print(_open_table(evaluation["open_ended"], personas[0]))
        for row in evaluation["open_ended"]["separation"]:
            console.print(f"Separation, {_separation(row, 'open answers')}", soft_wrap=True)
        files.append("answers.jsonl")
    console.print(f"Written: {output_dir} ({', '.join(files)})", soft_wrap=True)


def _separation(row: dict[str, Any], how: str) -> str:
    low, high = (100 * bound for bound in row["ci95"])
    first, second = row["masks"]
    points = f"{100 * row['separation']:+.1f} points (95 %: {low:+.1f} to {high:+.1f}, McNemar p = {row['p_value']:.2g})"
    return f"{first} minus {second} mask, {how}: {points}"


def _choice_table(evaluation: dict[str, Any], personas: tuple[str, str]) -> Table:
    """One line for every case and prompt, by summed log-probability."""
    data = evaluation["data"]
    title = f"Preference for {personas[0]} answers, {data['pairs']} pairs of {data['source']}, summed log-probability"
    caption = f"ppl: perplexity on {evaluation['perplexity_text']}; NLL: per token, over both answers"
    table = _table(title, caption, ("mask", "prompt"), ("accuracy", "95 %", "margin", "ppl", "NLL", "no score"))
    for name, row in _rows(evaluation, personas, "sum"):
        numbers = [_number(row[key], digits) for key, digits in (("margin", 1), ("perplexity", 2), ("answer_nll", 2))]
        table.add_row(name, row["prompt"], f"{row['accuracy']:.1%}", _interval(row), *numbers, str(row["missing"]))
    return table


def _letter_table(evaluation: dict[str, Any], personas: tuple[str, str]) -> Table:
    title = f"The same by letter: {personas[0]} answers named, over both orders of the options"
    caption = "says A: 50 % is no position bias; split: items on which the two orders disagree"
    table = _table(title, caption, ("mask", "prompt"), ("accuracy", "95 %", "margin", "says A", "split", "no score"))
    for name, row in _rows(evaluation, personas, "letter"):
        numbers = [_number(row["margin"], 2), _share(row["share_a"]), str(row["ties"]), str(row["missing"])]
        table.add_row(name, row["prompt"], f"{row['accuracy']:.1%}", _interval(row), *numbers)
    return table


def _rows(evaluation: dict[str, Any], personas: tuple[str, str], scoring: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of one scoring seen from the first persona, with the case's name."""
    for row in evaluation["results"]:
        if (row["scoring"], row["persona"]) == (scoring, personas[0]):
            # The opposite persona's mask is the control a persona's mask has to beat first.
            yield f"{row['mask']} (opposite)" if row["mask"] == personas[1] else row["mask"], row


def _table(title: str, caption: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Numbers keep to one line each; where the terminal is narrow, the words before them wrap."""
    table = Table(title=title, caption=caption, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _open_table(open_ended: dict[str, Any], persona: str) -> Table:
    judge = open_ended["judge"]
    title = f"Open answers that talk like {persona}, to {open_ended['questions']} questions"
    caption = (
        f"Judge: right on {judge['accuracy']:.1%} ({_interval(judge)}) of {judge['n']} held-out answers; "
        "ppl: of the answers under the bare model; repeats: 3-grams said before in the answer"
    )
    table = _table(title, caption, ("mask",), ("share", "95 %", "ppl", "repeats", "tokens", "empty"))
    for row in open_ended["results"]:
        if row["persona"] == persona:
            fluency = [_number(row["perplexity_under_base"], 2), _share(row["repeated_3grams"]), _number(row["mean_tokens"], 1)]
            table.add_row(row["mask"], f"{row['share']:.1%}", _interval(row), *fluency, str(row["empty"]))
    return table


def _interval(row: dict[str, Any]) -> str:
    return f"{100 * row['ci95'][0]:.0f}-{100 * row['ci95'][1]:.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}" if value < 1e4 else f"{value:.0e}"
