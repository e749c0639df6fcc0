"""The built-in persona sets give nothing away by length, first word, repetition or leakage between splits.

Run as a script to check one file while writing it: ``python tests/data/test_builtin.py path/to/set.jsonl``.
"""

import collections
import json
import pathlib
import re
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "jaxpersona" / "data" / "builtin"
SETS = ("wealth", "power", "extraversion", "intuition", "feeling", "perceiving")
SPLIT_SIZES = {"train": 128, "validation": 40, "test": 80}


def words(text):
    return re.findall(r"[a-z0-9'$%]+", text.lower())


def share(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


def check_schema(rows):
    for row in rows:
        assert set(row) == {"split", "question", "matching", "not_matching"}, row
        for key in ("question", "matching", "not_matching"):
            assert row[key] == row[key].strip() and row[key].isascii() and "\n" not in row[key], row
        for key in ("matching", "not_matching"):
            assert 8 <= len(words(row[key])) <= 45, (len(words(row[key])), row[key])
    sizes = collections.Counter(row["split"] for row in rows)
    assert dict(sizes) == SPLIT_SIZES, sizes


def check_length(rows):
    for split in SPLIT_SIZES:
        part = [row for row in rows if row["split"] == split]
        ours = sum(len(row["matching"]) for row in part)
        theirs = sum(len(row["not_matching"]) for row in part)
        assert abs(ours / theirs - 1) <= 0.03, f"{split}: persona answers are {ours / theirs:.3f} times as long"
        longer = share(len(row["matching"]) > len(row["not_matching"]) for row in part)
        assert 0.42 <= longer <= 0.58, f"{split}: the persona answer is longer in {longer:.2f} of the pairs"
        gap = share(abs(len(row["matching"]) / len(row["not_matching"]) - 1) > 0.35 for row in part)
        assert gap <= 0.1, f"{split}: {gap:.2f} of the pairs differ in length by more than 35 %"


def check_first_words(rows):
    ours = collections.Counter(words(row["matching"])[0] for row in rows)
    theirs = collections.Counter(words(row["not_matching"])[0] for row in rows)
    for word in ours | theirs:
        total = ours[word] + theirs[word]
        if total >= 10:
            assert 0.3 <= ours[word] / total <= 0.7, f"{word!r} starts {ours[word]} persona answers of {total}"
        assert total <= 0.25 * 2 * len(rows), f"{word!r} starts {total} of {2 * len(rows)} answers"
    assert len(ours | theirs) >= 30, "too few different first words"
    train = [row for row in rows if row["split"] == "train"]
    lean = collections.Counter(words(row["matching"])[0] for row in train)
    lean.subtract(words(row["not_matching"])[0] for row in train)
    held_out = [row for row in rows if row["split"] != "train"]
    margins = [lean[words(row["matching"])[0]] - lean[words(row["not_matching"])[0]] for row in held_out]
    guess = sum((margin > 0) + 0.5 * (margin == 0) for margin in margins) / len(margins)
    assert 0.4 <= guess <= 0.6, f"guessing by the first word learned on train scores {guess:.2f} on held-out pairs"


def check_repetition(rows):
    for key in ("question", "matching", "not_matching"):
        seen = collections.Counter(" ".join(words(row[key])) for row in rows)
        assert max(seen.values()) == 1, f"repeated {key}: {seen.most_common(1)}"
    openings = collections.Counter(" ".join(words(row[key])[:4]) for row in rows for key in ("matching", "not_matching"))
    assert openings.most_common(1)[0][1] <= 0.04 * 2 * len(rows), f"overused opening: {openings.most_common(1)}"


def check_leakage(rows):
    bags = [(row["split"], set(words(row["question"])), row["question"]) for row in rows]
    for i, (split, bag, question) in enumerate(bags):
        for other_split, other_bag, other_question in bags[:i]:
            if split != other_split:
                overlap = len(bag & other_bag) / len(bag | other_bag)
                assert overlap < 0.6, f"near-duplicate over splits: {question!r} / {other_question!r}"


CHECKS = (check_schema, check_length, check_first_words, check_repetition, check_leakage)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SETS)
def test_builtin_set_is_balanced(name, check):
    lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    check([json.loads(line) for line in lines])


if __name__ == "__main__":
    contents = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    for checker in CHECKS:
        try:
            checker(contents)
            print("ok  ", checker.__name__)
        except AssertionError as error:
            print("FAIL", checker.__name__, str(error)[:400])
