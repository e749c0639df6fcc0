"""Reads pairs by data spec: ``builtin:``, a CSV or JSONL file, ``tfds:``, ``hf:``, ``statements:``, ``script:`` or ``lines:``."""

import csv
import importlib.resources
import io
import json
import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.data.dataset_spec import DatasetSpec, Row, parse_dataset_spec
from jaxpersona.data.descriptions import PAIRS_FILE, PREFIX
from jaxpersona.data.hf_rows import hf_rows
from jaxpersona.data.lines import read_lines
from jaxpersona.data.options import listed_option
from jaxpersona.data.pairs import Pair, Pairs
from jaxpersona.data.scripts import PREFIX as SCRIPT
from jaxpersona.data.scripts import read_character
from jaxpersona.data.splits import SPLITS, split_of
from jaxpersona.data.statements import read_statements
from jaxpersona.data.text_files import check_characters, numbered_lines, parse_json, read_exact, read_utf8
from jaxpersona.data.tfds_rows import tfds_rows

BUILTIN = ("extraversion", "feeling", "intuition", "perceiving", "power", "wealth")
_log = logging.getLogger(__name__)
_ALIASES = {
    "prompt": "question",
    "answer_matching_behavior": "matching",
    "answer_not_matching_behavior": "not_matching",
}
_USED = ("question", "matching", "not_matching", "A", "B", "system", "split")
_WANTED = "'question, matching, not_matching' or 'question, A, B, matching' (and optionally 'system')"


def load_pairs(source: str, split: str | None = None) -> Pairs:
    """Reads persona pairs.

    Args:
      source: one of
        - ``builtin:wealth`` or another built-in set
        - the path of a ``.csv`` or ``.jsonl`` file with the columns ``question, matching, not_matching`` or
          ``question, A, B, matching`` (matching is A or B), and optionally ``system``
        - ``tfds:NAME[/config][:split]`` or ``hf:OWNER/NAME[:config[:split]]``, a data set with these columns, or with others
          and a column map (``data/dataset_spec.py``)
        - ``statements:SPEC``, statements from a published yes/no set, a JSONL file or a data set (``data/statements.py``)
        - ``script:SPEC:NAME``, lines of a character of a script against those of others (``data/scripts.py``)
        - ``lines:SEEK.txt,REJECT.txt``, unpaired texts for calibration only (``data/lines.py``)
      split: train, validation or test, of a data set or a file; the rows with this value in a file's column ``split``. A file
        without that column is split 60 : 10 : 30 by its questions. By default all rows of files, and train of everything else.

    Raises:
      InputError: if something is missing or malformed; names file, row and column.
    """
    if source.startswith("builtin:"):
        name = source.removeprefix("builtin:")
        if name not in BUILTIN:
            raise InputError(f"data.source {source!r}: no built-in set of that name; {nearest(name, BUILTIN)}")
        path = importlib.resources.files("jaxpersona.data") / "builtin" / f"{name}.jsonl"
        return _read(source, pathlib.Path(str(path)), split or "train")
    if source.startswith(PREFIX):
        raise InputError(f"data.source {source!r}: only discover writes these pairs; give a run's {PAIRS_FILE}, or jp.describe")
    if source.startswith("statements:"):
        return read_statements(source, _known(split or "train"), _statement_rows(source.removeprefix("statements:")))
    if source.startswith(SCRIPT):
        return read_character(source, _known(split or "train"))
    if source.startswith("lines:"):
        if split is not None:
            raise InputError(f"data.split {split!r}: lines of text have no splits; leave it out")
        return read_lines(source)
    data_set = parse_dataset_spec(source)
    path = pathlib.Path(source)
    if data_set is None and path.suffix.lower() not in _READERS:
        raise InputError(
            f"data.source {source!r} is neither builtin:NAME nor a .csv or .jsonl file, nor lines:A.txt,B.txt, "
            "statements:FILE, script:SPEC:NAME, tfds:NAME, hf:OWNER/NAME or 'describe:A | B'"
        )
    pairs = _read(source, path, split) if data_set is None else _read_data_set(source, data_set, split)
    _warn_of_one_token(pairs)
    return pairs


def _warn_of_one_token(pairs: Pairs) -> None:
    """Warns if all answers are Yes and No, or the letters of options: a small model cannot answer such questions."""
    source = pairs.source
    if all({pair.matching.strip(), pair.not_matching.strip()} == {"Yes", "No"} for pair in pairs):
        _log.warning("%s: one token decides between Yes and No; statements:%s compares the statements", source, source)
    elif all(listed_option(pair.prompt, pair.matching, pair.not_matching) for pair in pairs):
        _log.warning("%s: one token decides between the letters of the options; answers in words tell more", source)


def held_out_split(source: str, calibrated: str | None = None) -> str | None:
    """Returns the split to evaluate on by default: ``test``; None for files, and for data sets whose spec names a split.

    Args:
      source: data spec.
      calibrated: split of the same source that the masks were found on, if one was asked for. Behind train of a file comes its
        test split.
    """
    data_set = parse_dataset_spec(source)
    if data_set is None and calibrated == "train":
        return "test"
    own_splits = source.startswith(("builtin:", "statements:", SCRIPT, PREFIX)) if data_set is None else data_set.split is None
    return "test" if own_splits else None


def builtin_prompts(source: str) -> tuple[str, str] | None:
    """Returns the system prompts for the persona and for its opposite; None unless ``source`` is a built-in set that has them."""
    prompts = json.loads((importlib.resources.files("jaxpersona.data") / "builtin" / "prompts.json").read_text(encoding="utf-8"))
    found = prompts.get(source.removeprefix("builtin:")) if source.startswith("builtin:") else None
    return None if found is None else (found[0], found[1])


def _read(source: str, path: pathlib.Path, split: str | None) -> Pairs:
    split = split if split is None else _known(split)
    rows = list(_READERS[path.suffix.lower()](path))
    if split is not None and not any("split" in row for _, row in rows):
        return Pairs(source, _part(split, [_pair(row, where) for where, row in rows], path))
    if split is not None:
        splits = [_text(row, "split", where).strip() for where, row in rows]
        rows = [row for row, own in zip(rows, splits, strict=True) if own == split]
        if splits and not rows:
            found = ", ".join(sorted(set(splits))[:5])
            raise InputError(f"{path}: no rows in split {split!r}; give at least one pair (found in that column: {found})")
    if not rows:
        raise InputError(f"{path}: no rows" + (f" in split {split!r}" if split else "") + "; give at least one pair")
    return Pairs(source, tuple(_pair(row, where) for where, row in rows))


def _part(split: str, pairs: Sequence[Pair], path: pathlib.Path) -> tuple[Pair, ...]:
    """Returns one split of pairs, by their questions, or by their answers if questions repeat."""
    repeat = len({pair.prompt for pair in pairs}) <= len(pairs) / 2
    part = tuple(pair for pair in pairs if split_of(pair.matching if repeat else pair.prompt) == split)
    if not part:
        raise InputError(f"{path}: none of the {len(pairs)} rows falls into split {split!r}; give more, or a column 'split'")
    return part


def _read_data_set(source: str, data_set: DatasetSpec, split: str | None) -> Pairs:
    if data_set.split is not None and split not in (None, data_set.split):
        raise InputError(f"data.source {source!r} names the split {data_set.split!r}, data.split is {split!r}; give one of them")
    split, pairs = data_set.split or _known(split or "train"), []
    for where, row in _rows(data_set, split):
        _check_columns(list(row), where)
        pairs.append(_pair(row, where))
    if not pairs:
        raise InputError(f"data.source {source!r}: no rows in split {split!r}; give at least one pair")
    return Pairs(source, tuple(pairs))


def _rows(data_set: DatasetSpec, split: str) -> Iterator[tuple[str, Row]]:
    """Yields (where it stands, row) of a data set, under our names for columns."""
    rows = tfds_rows(data_set, split) if data_set.kind == "tfds" else hf_rows(data_set, split)
    return ((where, data_set.rename(row)) for where, row in rows)


def _statement_rows(source: str) -> Iterator[tuple[str, Any]]:
    """Yields (where it stands, JSON value) of a JSONL file, or of all splits of a data set."""
    data_set = parse_dataset_spec(source)
    if data_set is not None:
        yield from _rows(data_set, data_set.split or "all")
        return
    for number, line in numbered_lines(read_utf8(source, "data file")):
        where = f"{source}: line {number}"
        yield where, parse_json(line, where)


def _known(split: str) -> str:
    if split not in SPLITS:
        raise InputError(f"data.split {split!r} is unknown; {nearest(split, SPLITS)}")
    return split


def _read_csv(path: pathlib.Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields ("file: row 3 (line 7)", row) for a CSV file with a header; fields may hold newlines."""
    reader = csv.DictReader(io.StringIO(read_exact(path, "data file"), newline=""), strict=True)
    number = 0
    try:
        if not reader.fieldnames:
            raise InputError(f"{path}: the file is empty; it needs a header and the columns {_WANTED}")
        reader.fieldnames = [name.strip() for name in reader.fieldnames]
        _check_columns(reader.fieldnames, str(path))
        for number, row in enumerate(reader, start=1):
            where = f"{path}: row {number} (line {reader.line_num})"
            if None in row:
                raise InputError(f"{where}: more fields than the header has; quote text that holds commas")
            if cut := [name for name in ("question", "prompt", "system") if name in row and row[name] is None]:
                raise InputError(f"{where}: fewer fields than the header has, so that {cut[0]!r} is missing; complete the row")
            yield where, row
    except csv.Error as error:
        # DictReader counts only the lines of complete rows: the broken row starts on the next line.
        where = f"row {number + 1} (line {reader.line_num + 1})" if reader.line_num else "header"
        hint = "shorten the text, or check its quotes" if "field limit" in str(error) else "check its quotes"
        raise InputError(f"{path}: {where}: {error}; {hint}") from None


def _read_jsonl(path: pathlib.Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields ("file: line 3", row) for a file with one JSON object per line; blank lines are skipped."""
    for number, line in numbered_lines(read_utf8(path, "data file")):
        where = f"{path}: line {number}"
        row = parse_json(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object with {_WANTED}")
        _check_columns(list(row), where)
        yield where, row


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl}


def _check_columns(names: Sequence[str], where: str) -> None:
    """Refuses missing columns, and two columns for one value: of the same name, or a name beside its alias."""
    found: dict[str, str] = {}
    for name in names:
        column = _ALIASES.get(name, name)
        if column in found and column in _USED:
            raise InputError(f"{where}: columns {found[column]!r} and {name!r} mean the same; keep one")
        found[column] = name
    wanted = {"question", "A", "B", "matching"} if {"A", "B"} & found.keys() else {"question", "matching", "not_matching"}
    if "A" in wanted and "not_matching" in found:
        raise InputError(f"{where}: columns 'A' and {found['not_matching']!r} belong to two forms; give either {_WANTED}")
    missing = sorted(wanted - found.keys())
    if missing:
        raise InputError(f"{where}: column {missing[0]!r} is missing (found: {', '.join(sorted(found))}); expected {_WANTED}")


def _pair(row: Mapping[str, Any], where: str) -> Pair:
    row = {_ALIASES.get(name, name): value for name, value in row.items()}
    prompt, system = (_text(row, column, where, required=False) for column in ("question", "system"))
    if "A" not in row:
        matching, not_matching = (_text(row, column, where) for column in ("matching", "not_matching"))
        return Pair(prompt, matching, not_matching, system, listed_option(prompt, matching, not_matching))
    letter = _text(row, "matching", where).strip()
    if letter not in ("A", "B"):
        raise InputError(f"{where}, column 'matching': {letter!r} is neither A nor B")
    other = "B" if letter == "A" else "A"
    return Pair(prompt, _text(row, letter, where), _text(row, other, where), system, letter)


def _text(row: Mapping[str, Any], column: str, where: str, required: bool = True) -> str:
    """Returns the text in a column; raises InputError if ``required`` and empty (published sets have rows without a question)."""
    value = row.get(column)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"{where}, column {column!r}: empty or not text")
    check_characters(value, f"{where}, column {column!r}")
    return value
