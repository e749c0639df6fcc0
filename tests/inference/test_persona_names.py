"""Names and mixtures of personas on the command line are parsed, or refused."""

import pytest

from jaxpersona.core.errors import InputError
from jaxpersona.inference.persona_names import check_name, parse_persona


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("none", {}),
        (" none ", {}),
        ("seek", {"seek": 1.0}),
        ("seek+reject", {"seek": 1.0, "reject": 1.0}),
        (" 0.7 * seek + .3*reject ", {"seek": 0.7, "reject": 0.3}),
        ("2*seek", {"seek": 2.0}),  # the engine refuses the share
    ],
)
def test_a_name_or_a_mixture_becomes_shares(text, shares):
    assert parse_persona(text) == shares


@pytest.mark.parametrize("text", ["x*seek", "0.5*seek+*reject", "0.5*0.5*seek", "+", "0.5*"])
def test_a_share_that_is_no_number_or_has_no_name_is_refused(text):
    with pytest.raises(InputError, match=r"write 0.7\*seek\+0.3\*reject"):
        parse_persona(text)


@pytest.mark.parametrize("text", ["0.5*seek+0.5*seek", "seek + 0.1*seek", "seek+reject+ seek "])
def test_a_persona_that_is_mixed_twice_is_refused(text):
    with pytest.raises(InputError, match="has 'seek' twice; give each persona one share"):
        parse_persona(text)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sek", "did you mean 'seek'"),
        ("x", "known: none, reject, seek$"),
        ("", "known: none, reject, seek$"),
        ("nome", "did you mean 'none'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_or_all_known(name, hint):
    check_name("seek", ["seek", "reject"])
    with pytest.raises(InputError, match=f"^persona '{name}' is unknown; {hint}"):
        check_name(name, ["seek", "reject"])
