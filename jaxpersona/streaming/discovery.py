"""What ``discovery.find_masks`` does, for a model whose weights are read a layer at a time."""

import functools

from jaxpersona import steering
from jaxpersona.calibration import Calibration
from jaxpersona.masks import Persona
from jaxpersona.methods import AnyMethod, Method, SparseGPT, Steering
from jaxpersona.models.streamed import StreamedModel
from jaxpersona.progress import Report
from jaxpersona.resume import Checkpoints
from jaxpersona.streaming import first_order, masks


def find_masks(
    model: StreamedModel, method: AnyMethod, calibration: Calibration, seed: int, report: Report, checkpoints: Checkpoints
) -> tuple[Persona, Persona]:
    """The masks, or steering vectors, of both personas; what the method needs is collected on the way.

    Raises:
      InputError: as ``discovery.find_masks``, and where a method changes weights.
    """
    progress = functools.partial(report, "mask")
    if isinstance(method, SparseGPT):
        return masks.prune_by_hessians(model, method, calibration, progress, checkpoints)
    if isinstance(method, Method):
        both, statistics = masks.prune(model, method, calibration, seed, progress, checkpoints)
        if statistics is not None:
            calibration.keep("statistics", statistics)
        return both
    if isinstance(method, Steering):
        calibration.keep("residuals", masks.collect_residuals(model, calibration, progress, checkpoints["residuals"]))
        return steering.steer(method, calibration.residuals, 0), steering.steer(method, calibration.residuals, 1)
    return first_order.prune(model, method, calibration, report, checkpoints)
