"""A case of one persona, greedy or sampled, is shown as that persona only; all others as both."""

from jaxpersona.reporting.panel_rows import own_rows


def test_cases_are_shown_as_the_personas_that_their_names_allow():
    cases = ("none", "none, sampled", "gain", "gain, sampled", "prompt gain", "again")
    rows = [{"mask": case, "persona": persona} for case in cases for persona in ("gain", "loss")]
    shown = list(own_rows({"results": rows}, ("gain", "loss")))
    assert shown == [row for row in rows if row["persona"] == "gain" or row["mask"] in ("none", "none, sampled", "again")]
