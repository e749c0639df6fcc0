"""The result of an evaluation, as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_evaluation(evaluation: dict[str, Any], personas: tuple[str, str], output_dir: str) -> None:
    """Prints the preference for the first persona's answers in every case, the separations, and what open answers were like."""
    console = Console(markup=False, emoji=False)  # names and paths may hold brackets
    console.print(_choice_table(evaluation, personas))
    if evaluation["data"]["calibration_pairs"]:
        console.print(f"Of these pairs, {evaluation['data']['calibration_pairs']} are among those the masks were found on")
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
    """One line for every case and prompt: by summed log-probability, and by letter where that was asked."""
    data, (first, second) = evaluation["data"], personas
    title = f"Preference for {first} answers, {data['pairs']} pairs of {data['source']}, summed log-probability"
    caption = f"ppl: perplexity on {evaluation['perplexity_text']}; NLL: per token, over both answers"
    table = Table(title=title, caption=caption)
    for heading in ("mask", "prompt", "accuracy", "95 %", "margin", "by letter", "says A", "ppl", "NLL", "no score"):
        table.add_column(heading, justify="left" if heading in ("mask", "prompt") else "right")
    lines: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in evaluation["results"]:
        if row["persona"] == first:
            lines.setdefault((row["mask"], row["prompt"]), {})[row["scoring"]] = row
    previous = "none"
    for (mask, prompt), by_scoring in lines.items():
        if mask != previous:
            table.add_section()
        previous = mask
        # The opposite persona's mask is the control a persona's mask has to beat first.
        table.add_row(f"{mask} (opposite)" if mask == second else mask, prompt, *_numbers(by_scoring))
    return table


def _numbers(by_scoring: dict[str, dict[str, Any]]) -> list[str]:
    text, letter = by_scoring.get("sum"), by_scoring.get("letter")
    either = text or letter or {}
    missing = sum(row["missing"] for row in (text, letter) if row)
    return [
        *([f"{text['accuracy']:.1%}", _interval(text), _number(text["margin"], 1)] if text else ["", "", ""]),
        *([f"{letter['accuracy']:.1%}", _share(letter["share_a"])] if letter else ["", _share(either["share_a"])]),
        *(_number(either[key], 2) for key in ("perplexity", "answer_nll")),
        str(missing),
    ]


def _open_table(open_ended: dict[str, Any], persona: str) -> Table:
    judge = open_ended["judge"]
    title = f"Open answers that talk like {persona}, to {open_ended['questions']} questions"
    caption = (
        f"Judge: right on {judge['accuracy']:.1%} ({_interval(judge)}) of {judge['n']} held-out answers; "
        "ppl: of the answers under the bare model; repeats: 3-grams said before in the answer"
    )
    table = Table(title=title, caption=caption)
    for heading in ("mask", "share", "95 %", "ppl", "repeats", "tokens", "empty"):
        table.add_column(heading, justify="left" if heading == "mask" else "right")
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
