"""The summary of a run, as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(record: dict[str, Any], output_dir: str) -> None:
    """Prints what a run found: overlap by module, perplexity, time and memory."""
    console = Console(markup=False, emoji=False)  # names and paths may hold brackets
    personas = list(record["masks"])
    console.print(_overlap_table(record, personas))
    if record["perplexity"]:
        console.print(_perplexity_table(record))
    seconds = record["seconds"]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
    peak = record["peak_memory_bytes"] / 1e9
    console.print(f"{sum(seconds.values()):.1f} s ({stages}), peak memory {peak:.2f} GB, on {record['device']}")
    console.print(f"Written: {output_dir} (masks/{personas[0]}, masks/{personas[1]}, run.json, report.html)", soft_wrap=True)


def _overlap_table(record: dict[str, Any], personas: list[str]) -> Table:
    method, data, model = record["method"], record["data"], record["model"]
    title = f"{method['name']} on {model['name']}, {data['pairs']} pairs of {data['source']}"
    table = Table(title=title, caption="Jaccard by chance: two masks drawn at random with the same shares")
    table.add_column("module")
    for heading in (f"kept, {personas[0]}", f"kept, {personas[1]}", "Jaccard", "by chance", "differ"):
        table.add_column(heading, justify="right")
    for row in record["overlap"]:
        if row["modules"] in ("attention", "all"):
            table.add_section()
        kept = [f"{share:.2%}" for share in row["kept"]]
        overlap = [f"{row['jaccard']:.4f}", f"{row['jaccard_independent']:.4f}", f"{row['difference_rate']:.2%}"]
        table.add_row(row["modules"], *kept, *overlap)
    return table


def _perplexity_table(record: dict[str, Any]) -> Table:
    text, base = record["config"]["perplexity"]["text"], record["perplexity"]["none"]
    table = Table(title=f"Perplexity on {text}")
    for heading in ("mask", "perplexity", "change"):
        table.add_column(heading, justify="left" if heading == "mask" else "right")
    for name, value in record["perplexity"].items():
        table.add_row(name, f"{value:.2f}", f"{value / base - 1:+.1%}" if name != "none" else "")
    return table


def print_evaluation(evaluation: dict[str, Any], persona: str, output_dir: str) -> None:
    """Prints accuracy on ``persona`` by summed log-probability for every mask and prompt, and the separations."""
    console = Console(markup=False, emoji=False)
    console.print(_accuracy_table(evaluation, persona))
    for row in evaluation["separation"]:
        if row["scoring"] == "sum":
            low, high = (100 * bound for bound in row["ci95"])
            first, second = row["masks"]
            points = f"{100 * row['separation']:+.1f} points (95 %: {low:+.1f} to {high:+.1f}, McNemar p = {row['p_value']:.2g})"
            console.print(f"Separation, {first} minus {second} mask, prompt {row['prompt']}: {points}", soft_wrap=True)
    console.print(f"Written: {output_dir} (evaluation.json, evaluation.csv)", soft_wrap=True)


def _accuracy_table(evaluation: dict[str, Any], persona: str) -> Table:
    data = evaluation["data"]
    title = f"Preference for {persona} answers, {data['pairs']} pairs of {data['source']}, summed log-probability"
    caption = f"ppl: perplexity on {evaluation['perplexity_text']}; NLL: per token, over both answers"
    table = Table(title=title, caption=caption)
    for heading in ("mask", "prompt", "accuracy", "95 %", "margin", "ppl", "NLL", "no score"):
        table.add_column(heading, justify="left" if heading in ("mask", "prompt") else "right")
    previous = "none"
    for row in evaluation["results"]:
        if row["scoring"] != "sum" or row["persona"] != persona:
            continue
        if row["mask"] != previous:
            table.add_section()
        previous = row["mask"]
        interval = f"{100 * row['ci95'][0]:.0f}-{100 * row['ci95'][1]:.0f}"
        numbers = [_number(row[key], digits) for key, digits in (("margin", 1), ("perplexity", 2), ("answer_nll", 2))]
        table.add_row(row["mask"], row["prompt"], f"{row['accuracy']:.1%}", interval, *numbers, str(row["missing"]))
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}" if value < 1e4 else f"{value:.0e}"
