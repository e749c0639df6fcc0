"""The configuration of ``export`` refuses values that no folder can have."""

import pytest

from jaxpersona.commands.export_config import ExportConfig
from jaxpersona.core.errors import InputError


@pytest.mark.parametrize(
    ("changes", "message"), [({"gamma": 1}, "gamma is 1"), ({"gamma": -0.1}, "gamma is -0.1"), ({"shard_mb": 0}, "shard_mb is 0")]
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ExportConfig(run="run", persona="seek", output_dir="out", **changes)
