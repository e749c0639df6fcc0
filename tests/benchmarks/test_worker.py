"""The worker writes what a benchmark measured, with stages and compilations."""

import json

import jax

from jaxpersona.benchmarks import worker


def test_a_result_has_stages_and_compilations(tiny_model, tmp_path):
    options = {"started": 0.0, "model": tiny_model.name, "dtype": "float32", "switches": 2}
    (tmp_path / "options.json").write_text(json.dumps(options))
    jax.clear_caches()
    worker.main("switch", str(tmp_path / "options.json"), str(tmp_path / "result.json"))
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["seconds"]) == {"import", "load", "of which compile"}
    assert result["compilations"] > 0 and result["peak"] > 1e7
    assert set(result["values"]) == {"persona", "first, with compilation"}
