"""Readers accept CSV and JSONL as users write them, and errors name file, row and column."""

import csv
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpersona.core.errors import InputError
from jaxpersona.data.pairs import Pair
from jaxpersona.data.readers import BUILTIN, builtin_prompts, load_pairs
from jaxpersona.data.splits import split_of

HEADER = "question,matching,not_matching\n"
GOOD = {"question": "q", "matching": "m", "not_matching": "n"}


def written(tmp_path, text, name="pairs.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refused(source, message, **options):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_pairs(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_fields_may_hold_newlines_quotes_and_commas(tmp_path):
    text = HEADER + '"One,\ntwo?","He said ""yes"",\n\nthen left",no\nNext?,"a",b\n'
    pairs = load_pairs(written(tmp_path, text))
    assert list(pairs) == [Pair("One,\ntwo?", 'He said "yes",\n\nthen left', "no"), Pair("Next?", "a", "b")]
    assert pairs.source == str(tmp_path / "pairs.csv")


cells = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=4), kind=st.sampled_from([".csv", ".jsonl"]))
def test_any_text_survives_the_round_trip(tmp_path_factory, rows, kind):
    path = tmp_path_factory.getbasetemp() / f"round_trip{kind}"
    with path.open("w", newline="", encoding="utf-8") as file:
        if kind == ".csv":
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("question", "matching", "not_matching"), *rows])
        else:
            file.writelines(json.dumps(dict(zip(GOOD, row, strict=True))) + "\n" for row in rows)
    assert list(load_pairs(str(path))) == [Pair(*row) for row in rows]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_byte_order_mark_and_windows_line_ends_are_passed_over(tmp_path, name):
    text = HEADER + "q,m,n\n" if name.endswith("csv") else json.dumps(GOOD) + "\n\n"
    source = written(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), name)
    assert list(load_pairs(source)) == [Pair("q", "m", "n")]


def test_further_columns_are_ignored_and_system_is_read(tmp_path):
    text = "id,system,not_matching,matching,question\n7,Be brief.,n,m,q\n8,,n,m,q\n"
    assert list(load_pairs(written(tmp_path, text))) == [Pair("q", "m", "n", "Be brief."), Pair("q", "m", "n")]


def test_columns_of_published_evaluations_are_known(tmp_path):
    text = "prompt,answer_matching_behavior,answer_not_matching_behavior\nq,m,n\n"
    assert list(load_pairs(written(tmp_path, text))) == [Pair("q", "m", "n")]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_two_option_form_puts_the_matching_letter_first(tmp_path, name):
    rows = [{"question": "q", "A": "one", "B": "two", "matching": letter} for letter in ("A", " B ")]
    text = "question,A,B,matching\n" + "".join(",".join(row.values()) + "\n" for row in rows)
    text = text if name.endswith("csv") else "\n".join(map(json.dumps, rows))
    pairs = load_pairs(written(tmp_path, text, name))
    assert list(pairs) == [Pair("q", "one", "two"), Pair("q", "two", "one")]
    assert [pair.letter for pair in pairs] == ["A", "B"]


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", HEADER + ",m,n\n"), ("a.jsonl", json.dumps({**GOOD, "question": None, "system": ""}))]
)
def test_question_may_be_empty(tmp_path, name, text):
    assert list(load_pairs(written(tmp_path, text, name))) == [Pair("", "m", "n")]


def test_wrong_letter_is_named(tmp_path):
    text = "question,A,B,matching\nq,one,two,A\nq,one,two,(C)\n"
    refused(written(tmp_path, text), "pairs.csv: row 2 (line 3), column 'matching': '(C)' is neither A nor B")


def test_more_fields_than_columns(tmp_path):
    text = HEADER + 'q,m,n\n"q\nq",m,n,extra\n'
    refused(written(tmp_path, text), "pairs.csv: row 2 (line 4): more fields than the header has; quote text that holds commas")


@pytest.mark.parametrize(
    ("row", "reason"), [('q,"m,n\n\nq,m,n\n', "unexpected end of data"), ('q,"m" x,n\n', "',' expected after '\"'")]
)
def test_unbalanced_quotes_are_found_where_the_row_starts(tmp_path, row, reason):
    text = HEADER + '"q\nq",m,n\n' + row
    refused(written(tmp_path, text), f"pairs.csv: row 2 (line 4): {reason}; check its quotes")


def test_a_cell_that_is_too_long_is_said_to_be(tmp_path):
    text = f"question,matching,not_matching\nWhy?,{'x' * 140_000},No.\n"
    refused(written(tmp_path, text), "field larger than field limit (131072); shorten the text, or check its quotes")


def test_unbalanced_quote_in_the_header(tmp_path):
    refused(written(tmp_path, 'question,matching,"not_matching\nq,m,n\n'), "pairs.csv: header: unexpected end of data")


@pytest.mark.parametrize(("name", "message"), [("a.csv", "the file is empty; it needs a header"), ("a.jsonl", "no rows; give")])
def test_empty_file(tmp_path, name, message):
    refused(written(tmp_path, "", name), f"{name}: {message}")


def test_header_only(tmp_path):
    refused(written(tmp_path, HEADER), "pairs.csv: no rows; give at least one pair")


@pytest.mark.parametrize(
    ("header", "missing"),
    [("question", "matching"), ("matching,not_matching", "question"), ("question,A,matching", "B"), ("q;m;n", "matching")],
)
def test_missing_column_is_named_with_those_found(tmp_path, header, missing):
    message = refused(written(tmp_path, f"{header}\nx\n"), f"pairs.csv: column {missing!r} is missing (found: ")
    assert header.split(",")[0] in message
    assert "expected 'question, matching, not_matching' or 'question, A, B, matching'" in message


@pytest.mark.parametrize(
    ("row", "column"), [("q,,n", "matching"), ("q, ,n", "matching"), ("q,m,", "not_matching"), ("q,m", "not_matching")]
)
def test_empty_or_absent_cell_is_named(tmp_path, row, column):
    message = f"pairs.csv: row 2 (line 3), column {column!r}: empty or not text"
    refused(written(tmp_path, f"{HEADER}q,m,n\n{row}\n"), message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q",', "line 3: not JSON ("),
        ("['q']", "line 3: not JSON ("),
        ('["q", "m", "n"]', "line 3: expected a JSON object with 'question"),
        ("null", "line 3: expected a JSON object"),
        ('{"question": "q", "matching": "m"}', "line 3: column 'not_matching' is missing (found: matching, question)"),
        (json.dumps({**GOOD, "matching": 1}), "line 3, column 'matching': empty or not text"),
        (json.dumps({**GOOD, "not_matching": None}), "line 3, column 'not_matching': empty or not text"),
        (json.dumps({**GOOD, "system": ["s"]}), "line 3, column 'system': empty or not text"),
        (json.dumps({**GOOD, "question": 5}), "line 3, column 'question': empty or not text"),
    ],
)
def test_bad_json_line_is_named(tmp_path, line, message):
    refused(written(tmp_path, f"{json.dumps(GOOD)}\n\n{line}\n", "pairs.jsonl"), f"pairs.jsonl: {message}")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_file_in_another_encoding(tmp_path, name):
    text = HEADER + "Où,m,n\n" if name.endswith("csv") else json.dumps({**GOOD, "question": "Où"}, ensure_ascii=False)
    refused(written(tmp_path, text.encode("latin-1"), name), f"{name}: not UTF-8 text (byte ")


def test_split_column_selects_rows(tmp_path):
    source = written(tmp_path, "split,question,matching,not_matching\ntrain,q1,m,n\ntest,q2,m,n\ntrain,q3,m,n\n")
    assert [pair.prompt for pair in load_pairs(source)] == ["q1", "q2", "q3"]
    assert [pair.prompt for pair in load_pairs(source, split="train")] == ["q1", "q3"]
    refused(source, "pairs.csv: no rows in split 'validation'; give at least one pair", split="validation")


@pytest.mark.parametrize("questions", ["Question {}?", "What do you think?", ""])
def test_a_file_without_that_column_is_split_by_its_questions_or_by_answers_if_questions_repeat(tmp_path, questions):
    source = written(tmp_path, HEADER + "".join(f"{questions.format(n // 2)},yes {n},no {n}\n" for n in range(100)))
    splits = [load_pairs(source, split) for split in ("train", "validation", "test")]
    assert sorted(pair.matching for split in splits for pair in split) == sorted(f"yes {n}" for n in range(100))
    assert min(map(len, splits)) > 2 and len(splits[0]) > len(splits[2]) > len(splits[1])
    longer = written(tmp_path, HEADER + "".join(f"{questions.format(n // 2)},yes {n},no {n}\n" for n in range(120)), "more.csv")
    assert set(splits[2]) <= set(load_pairs(longer, "test"))  # what is held out stays so


def test_a_file_too_short_for_a_split(tmp_path):
    source = written(tmp_path, HEADER + "q,m,n\n")
    other = "test" if split_of("q") == "train" else "train"
    refused(source, f"none of the 1 rows falls into split {other!r}; give more, or a column 'split'", split=other)


def test_a_row_without_the_column_that_others_have(tmp_path):
    rows = [{**GOOD, "split": "train"}, GOOD]
    source = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "pairs.jsonl")
    refused(source, "line 2, column 'split': empty or not text", split="train")


@pytest.mark.parametrize("source", ["builtin:wealth", "some.csv"])
def test_unknown_split_names_the_nearest(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, HEADER + "q,m,n\n", "some.csv")
    refused(source, "data.split 'validate' is unknown; did you mean 'validation'?", split="validate")


def test_unknown_built_in_set_names_the_nearest():
    refused("builtin:welth", "data.source 'builtin:welth': no built-in set of that name; did you mean 'wealth'?")
    refused("builtin:zzz", "known: extraversion, feeling, intuition, perceiving, power, wealth")


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    refused(str(tmp_path / "none.csv"), "none.csv does not exist")
    refused(str(tmp_path / "folder.csv"), "folder.csv does not exist")


@pytest.mark.parametrize("source", ["pairs.json", "pairs", "", "hf/owner/name"])
def test_other_kinds_of_source(source):
    kinds = (
        "neither builtin:NAME nor a .csv or .jsonl file, nor lines:A.txt,B.txt, "
        "statements:FILE, script:SPEC:NAME, tfds:NAME, hf:OWNER/NAME"
    )
    refused(source, f"data.source {source!r} is {kinds}")


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    written(tmp_path, HEADER + "q,m,n\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_pairs("~/pairs.csv")) == 1


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_sets_have_three_disjoint_splits_and_train_is_the_default(name):
    source = f"builtin:{name}"
    splits = [load_pairs(source, split) for split in ("train", "validation", "test")]
    assert load_pairs(source) == splits[0]
    assert min(map(len, splits)) >= 40
    assert len({pair.prompt for split in splits for pair in split}) == sum(map(len, splits))


def test_spaces_around_header_names_do_not_count(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("question, matching , not_matching\nq,a,b\n")
    assert load_pairs(str(path))[0].matching == "a"


def test_half_a_surrogate_pair_is_refused(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "q", "matching": "\\ud800 a", "not_matching": "b"}\n')
    with pytest.raises(InputError, match="surrogate"):
        load_pairs(str(path))


def test_every_built_in_set_has_two_prompts_of_its_own():
    prompts = [text for name in BUILTIN for text in builtin_prompts(f"builtin:{name}")]
    assert len(set(prompts)) == 2 * len(BUILTIN)
    assert all(text == text.strip() and text.endswith(".") for text in prompts)
    assert "rich" in builtin_prompts("builtin:wealth")[0]


@pytest.mark.parametrize("source", ["wealth", "wealth.csv", "builtin:welth", "builtin:", "python"])
def test_other_sources_have_no_prompts(source):
    assert builtin_prompts(source) is None


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("question,matching,not_matching,matching", "'matching' and 'matching'"),
        ("question,prompt,matching,not_matching", "'question' and 'prompt'"),
        ("answer_matching_behavior,question,matching,not_matching", "'answer_matching_behavior' and 'matching'"),
        ("question,matching,not_matching,system, system", "'system' and 'system'"),
        ("question,A,B,matching,A", "'A' and 'A'"),
    ],
)
def test_two_columns_for_one_value_are_refused(tmp_path, header, names):
    source = written(tmp_path, f"{header}\nq,m,n,x,y\n")
    refused(source, f"pairs.csv: columns {names} mean the same; keep one")


@pytest.mark.parametrize("other", [{"prompt": "p"}, {"answer_matching_behavior": "m"}, {"answer_not_matching_behavior": "n"}])
def test_an_alias_beside_its_name_is_refused_in_jsonl(tmp_path, other):
    text = f"{json.dumps(GOOD)}\n{json.dumps({**GOOD, **other})}\n"
    refused(written(tmp_path, text, "pairs.jsonl"), f"'{next(iter(other))}' mean the same; keep one")


def test_a_repeated_key_is_refused_in_jsonl(tmp_path):
    text = json.dumps(GOOD)[:-1] + ', "matching": "other"}'
    refused(written(tmp_path, f"\n{text}\n", "pairs.jsonl"), "pairs.jsonl: line 2: key 'matching' is given twice; keep one")


def test_repeated_columns_that_are_not_used_do_not_matter(tmp_path):
    assert list(load_pairs(written(tmp_path, "question,matching,not_matching,,\nq,m,n,,\n"))) == [Pair("q", "m", "n")]


@pytest.mark.parametrize("name", ["PAIRS.CSV", "pairs.JSONL", "pairs.JsonL"])
def test_capitals_in_the_ending_of_a_file_name(tmp_path, name):
    text = HEADER + "q,m,n\n" if name.endswith("CSV") else json.dumps(GOOD)
    assert list(load_pairs(written(tmp_path, text, name))) == [Pair("q", "m", "n")]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_line_separators_within_a_text_stay(tmp_path, name):
    row = ["one\u2028two", "m\x0cm", "n\x85n"]
    text = HEADER + ",".join(row) if name == "a.csv" else json.dumps(dict(zip(GOOD, row, strict=True)), ensure_ascii=False)
    text = text.replace("\\f", "\\u000c")
    assert list(load_pairs(written(tmp_path, text, name))) == [Pair(*row)]


def test_published_options_in_the_question_give_the_letter(tmp_path):
    question = "Gold?\n\nChoices:\n (A) Yes\n (B) No"
    rows = [
        {"question": question, "answer_matching_behavior": m, "answer_not_matching_behavior": n}
        for m, n in ((" (B)", " (A)"), (" (A)", " (B)"), (" Yes", " No"))
    ]
    pairs = load_pairs(written(tmp_path, "\n".join(map(json.dumps, rows)), "mwe.jsonl"))
    assert [pair.letter for pair in pairs] == ["B", "A", ""]
    assert pairs[0] == Pair(question, " (B)", " (A)")


def test_spaces_around_a_split_do_not_count_and_other_values_are_named(tmp_path):
    source = written(tmp_path, "split,question,matching,not_matching\n train ,q1,m,n\nTest,q2,m,n\n")
    assert [pair.prompt for pair in load_pairs(source, "train")] == ["q1"]
    refused(source, "no rows in split 'test'; give at least one pair (found in that column: Test, train)", split="test")


@pytest.mark.parametrize(
    "header", ["matching,not_matching,question", "matching,not_matching,prompt", "question,matching,not_matching,system"]
)
def test_a_row_cut_short_has_no_empty_question(tmp_path, header):
    row = ",".join("x" * header.count(","))
    last = header.rpartition(",")[2]
    refused(
        written(tmp_path, f"{header}\n{row}\n"), f"row 1 (line 2): fewer fields than the header has, so that {last!r} is missing"
    )


@pytest.mark.parametrize("extra", ["not_matching", "answer_not_matching_behavior"])
def test_columns_of_both_forms_are_refused(tmp_path, extra):
    source = written(tmp_path, f"question,A,B,matching,{extra}\nq,x,y,A,A\n")
    refused(source, f"columns 'A' and {extra!r} belong to two forms; give either 'question, matching")
