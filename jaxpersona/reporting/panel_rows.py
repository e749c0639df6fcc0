"""The panel's rows that a reader needs."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxpersona.evaluation.open_answers.tally import SAMPLED


def own_rows(panel: Mapping[str, Any], personas: tuple[str, str]) -> Iterator[Mapping[str, Any]]:
    """Yields the panel's results, without cases of one persona seen as the other.

    >>> cases = ("none, sampled", "seek, sampled", "dpo reject")
    >>> rows = [{"mask": case, "persona": persona} for case in cases for persona in ("seek", "reject")]
    >>> [(row["mask"], row["persona"]) for row in own_rows({"results": rows}, ("seek", "reject"))]
    [('none, sampled', 'seek'), ('none, sampled', 'reject'), ('seek, sampled', 'seek'), ('dpo reject', 'reject')]
    """
    for row in panel["results"]:
        if row["mask"].removesuffix(SAMPLED).rsplit(" ", 1)[-1] not in {*personas} - {row["persona"]}:
            yield row
