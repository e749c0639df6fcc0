"""Chooses how a discovery lies on the devices where the configuration leaves that open: the mesh, or layer by layer."""

from collections.abc import Callable

from jax.sharding import Mesh

from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import agreed
from jaxpersona.discovery.plan import Plan

PlanOn = Callable[[Mesh], Plan]
"""Returns the plan on a mesh."""


def smallest_fitting_mesh(plan_on: PlanOn) -> Mesh:
    """Returns the mesh over all devices with the smallest axis ``model`` on which the plan fits, the same on all hosts.

    Communication is least where ``data`` is largest. If the plan fits on none, the first is returned, whose ``check`` says so.
    """
    default = make_mesh()
    meshes = [make_mesh(default.size // model, model) for model in range(1, default.size + 1) if default.size % model == 0]
    chosen = next((mesh for mesh in meshes if plan_on(mesh).shortage is None), default)
    return make_mesh(model=int(agreed(str(chosen.shape["model"]))))


def mesh_line(plan: Plan) -> str:
    """Returns a line on the devices' mesh and the peak of one of them."""
    devices = plan.devices
    return f"mesh.data {devices.data}, mesh.model {devices.model}: a device ({devices.kind}) needs {plan.peak_bytes / 1e9:.1f} GB"
