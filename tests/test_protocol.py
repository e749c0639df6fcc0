"""The protocol switch: one test for each way in which the scripts differ from the paper."""

import pytest

from jaxpersona.errors import InputError
from jaxpersona.protocol import OFFICIAL, PAPER, STRICT, resolve


def test_protocols_by_name():
    assert [resolve(name) for name in ("strict", "paper", "official", PAPER)] == [STRICT, PAPER, OFFICIAL, PAPER]
    with pytest.raises(InputError, match="protocol 'oficial' is unknown; did you mean 'official'"):
        resolve("oficial")
