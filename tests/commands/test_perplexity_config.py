"""The configuration of ``perplexity`` refuses windows that predict nothing."""

import pytest

from jaxpersona.commands.perplexity_config import PerplexityConfig
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerplexityConfig(max_tokens=0), "max_tokens is 0; give at least 2"),
        (lambda: PerplexityConfig(window=1), "window is 1; give at least 2"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_smallest_window_is_taken():
    assert PerplexityConfig(max_tokens=2, window=2).window == 2
