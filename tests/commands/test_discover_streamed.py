"""The command ``discover`` writes the same files with ``stream_layers`` as without."""

import json

import jax
import numpy as np
import pytest
from conftest import LITTLE

import jaxpersona as jp
from jaxpersona.commands import cli
from jaxpersona.commands.discover import main
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.core.errors import InputError

SAME_METADATA = {"fingerprint", "statistics_sha256", "method", "kernels", "kept", "others", "data_sha256", "persona"}


def discover(folder, out, **options):
    given = {"model.name": folder, "output_dir": out, "data.num_samples": 5, "data.max_length": 96, "perplexity.max_tokens": 512}
    given |= {"data.generated_texts": LITTLE.texts, "data.generated_length": LITTLE.length}
    main(cli.parse("discover", DiscoverConfig, [f"--{key}={value}" for key, value in {**given, **options}.items()]))
    return json.loads((out / "run.json").read_text())


@pytest.mark.parametrize(
    ("method", "settings"),
    [("wanda", {}), ("sparsegpt", {}), ("steering", {}), ("taylor", {"method.budget_tokens": 512, "model.dtype": "float32"})],
    ids=["wanda", "sparsegpt", "steering", "taylor"],
)
def test_runs_are_the_same(tiny_folder, tiny_model, tmp_path, method, settings):
    options = {"method.name": method, **settings}
    records = [discover(tiny_folder, tmp_path / flag, stream_layers=flag, **options) for flag in ("true", "false")]
    for key in ("model", "data", "method", "protocol", "masks", "overlap"):
        assert records[0][key] == records[1][key]
    assert records[0]["perplexity"] == pytest.approx(records[1]["perplexity"], rel=1e-5)
    assert records[0]["config"]["stream_layers"] is True
    assert {path.name for path in (tmp_path / "true").iterdir()} == {"masks", "run.json", "report.html"}
    for persona in ("seek", "reject"):
        bundles = [tmp_path / flag / "masks" / persona for flag in ("true", "false")]
        jax.tree.map(np.testing.assert_array_equal, *(jp.load_masks(bundle, tiny_model) for bundle in bundles))
        metadata = [json.loads((bundle / "metadata.json").read_text()) for bundle in bundles]
        assert all(metadata[0].get(key) == metadata[1].get(key) for key in SAME_METADATA)


def test_a_check_is_refused():
    for option in ("--check.num_samples=4", "--check.question=Why?"):
        with pytest.raises(InputError, match="check needs the whole model in memory"):
            cli.parse("discover", DiscoverConfig, ["--stream_layers=true", option])


def test_a_mesh_is_refused():
    with pytest.raises(InputError, match="stream_layers works on one device"):
        cli.parse("discover", DiscoverConfig, ["--stream_layers=true", "--mesh.model=2"])
