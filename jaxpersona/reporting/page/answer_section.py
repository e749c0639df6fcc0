"""The section of answers in the model's own words, under each mask, side by side."""

from collections.abc import Iterator

from jaxpersona.reporting.numbers import bounds, share
from jaxpersona.reporting.page.blocks import Answers, Block, Missing, Section, Table
from jaxpersona.reporting.page.preferences import label_of, look_of
from jaxpersona.reporting.page.run_files import RunFiles

MOST = 8
"""Questions on the page; ``answers.jsonl`` has them all."""


def answer_sections(files: RunFiles) -> Iterator[Section | Missing]:
    """Yields the section of answers, and the command that makes more if there are only those of ``discover``."""
    picked = files.run.get("answers", [])
    shown: dict[str, dict[str, str]] = {}
    for row in [*picked, *files.answers]:
        if row["mask"] in ("none", *files.personas):
            shown.setdefault(row["question"], {})[row["mask"]] = row["answer"]
    blocks: list[Block] = []
    for question, answers in list(shown.items())[:MOST]:
        side_by_side = [(label_of(mask), look_of(mask, files.personas), answer.strip()) for mask, answer in answers.items()]
        blocks.append(Answers(question, side_by_side))
    if blocks:
        text = "The model's own words, decoded greedily."
        text += " The first question is the one of the run's configuration." if picked else ""
        text += " Held-out questions are drawn at random, not picked." if files.answers else ""
        text += f" {MOST} of {len(shown)} questions are shown; answers.jsonl has the rest." if len(shown) > MOST else ""
        yield Section("answers", "Answers", "Answers side by side", text, [*blocks, *_judged(files)])
    if not files.answers:
        yield Missing("Open answers, judged", files.command("evaluate", "--open_ended 20"))


def _judged(files: RunFiles) -> Iterator[Table]:
    """Yields the table of what the judge and the coherence measures say of the answers."""
    found = (files.evaluation or {}).get("open_ended")
    if not found:
        return
    first, judge = files.personas[0], found["judge"]
    cells = [
        (
            label_of(row["mask"]),
            share(row["share"]),
            bounds(row["ci95"]),
            _number(row["perplexity_under_base"]),
            "" if row["repeated_3grams"] is None else share(row["repeated_3grams"]),
            _number(row["mean_tokens"]),
        )
        for row in found["results"]
        if row["persona"] == first
    ]
    head = ("mask", f"talks like {first}", "95 % interval", "perplexity under base", "repeated 3-grams", "tokens")
    notes = (
        f"Talks like {first}: share of the {found['questions']} answers that a word classifier assigns to {first}; "
        f"it is right on {share(judge['accuracy'])} of {judge['n']} held-out answers."
    )
    yield Table("Judgement of the answers", head, cells, notes)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
