"""The mesh that a discovery takes by itself is the one with the smallest axis ``model`` that fits."""

import types

import pytest
from discovery.test_plan import TAYLOR, TPU, WANDA, of
from shapes import LLAMA_8B

from jaxpersona.discovery import layout, plan
from jaxpersona.discovery.plan import Devices


@pytest.fixture
def chosen(monkeypatch):
    """Returns a function that chooses a mesh over so many devices."""

    def choose(count, method, devices, config=LLAMA_8B):
        def make_mesh(data=None, model=1):
            return types.SimpleNamespace(size=count, shape={"data": data or count // model, "model": model})

        monkeypatch.setattr(layout, "make_mesh", make_mesh)
        mesh = layout.smallest_fitting_mesh(lambda mesh: of(method, devices, **mesh.shape, config=config))
        return mesh.shape["data"], mesh.shape["model"]

    monkeypatch.setattr(plan, "host_memory_bytes", lambda: 10**12)
    return choose


def test_the_smallest_model_axis_that_fits_is_taken(chosen):
    assert chosen(16, TAYLOR, TPU) == (4, 4)
    assert chosen(16, WANDA, TPU) == (4, 4)
    assert chosen(8, WANDA, Devices("H200", 141 * 10**9)) == (8, 1)
    assert chosen(6, WANDA, Devices("TPU v4", 32 * 10**9)) == (3, 2)


def test_where_none_fits_the_default_is_taken_and_refused_later(chosen):
    assert chosen(2, TAYLOR, TPU) == (2, 1)


def test_the_line_names_the_mesh_and_what_a_device_needs():
    line = layout.mesh_line(of(TAYLOR, TPU, data=1, model=16))
    assert line.startswith("mesh.data 1, mesh.model 16: a device (TPU v5e) needs 7.") and line.endswith(" GB")
