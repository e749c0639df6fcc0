"""Open answers as Markdown: numbers in points with intervals, and the same drawn questions for all masks."""

from jaxpersona.reporting.open_markdown import open_markdown

ANSWERS = [
    {"mask": mask, "question": f"What of {n}?", "answer": f"{mask} says\n{n} <b>" if n else ""}
    for mask in ("none", "gain", "loss", "dpo gain")
    for n in range(7)
]


def case(mask, persona):
    parts = {"trait": 0.61, "relevance": None, "fluency": 0.8, "loops": 2}
    return {"mask": mask, "persona": persona, "overall": 0.5, "ci95": [0.4, 0.61], **parts}


def test_the_panels_numbers_are_tables():
    results = [case(mask, persona) for mask in ("none", "gain", "dpo loss", "gain, sampled") for persona in ("gain", "loss")]
    compared = [{"persona": "gain", "cases": ["gain", "none"], "n": 7, "difference": 0.123, "ci95": [-0.05, 0.3]}]
    lines = open_markdown({"panel": {"results": results, "comparisons": compared}}, ANSWERS, ("gain", "loss")).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "50.0" in line]
    assert rows == [
        f"| {name} | 50.0 (40.0 to 61.0) | 61.0 |  | 80.0 | 2 |"
        for name in ("none | gain", "none | loss", "gain | gain", "dpo loss | loss", "gain, sampled | gain")
    ]
    assert "| gain | none | 7 | 12.3 (-5.0 to 30.0) |" in lines


def test_five_questions_are_drawn_and_answered_by_the_base_model_and_both_masks():
    text = open_markdown({}, ANSWERS, ("gain", "loss"))
    questions = [line for line in text.splitlines() if line.startswith("**")]
    assert text.startswith("5 of 7 questions, drawn at random.") and len(set(questions)) == 5
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("- ")] == ["- none", "- gain", "- loss"] * 5
    assert "- gain: gain says 3 &lt;b&gt;" in text or "What of 3?" not in text
    assert "- gain: (empty)" in text or "What of 0?" not in text
    assert text == open_markdown({}, ANSWERS, ("gain", "loss")) != open_markdown({}, ANSWERS, ("gain", "loss"), seed=1)
