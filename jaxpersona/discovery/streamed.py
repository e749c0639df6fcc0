"""What ``discovery.find_masks`` does, for a model whose weights are read a layer at a time."""

import functools

from jaxpersona.calibration.calibrate import Calibration
from jaxpersona.core.checkpoints import Checkpoints
from jaxpersona.core.progress import Report
from jaxpersona.masks.masks import Persona
from jaxpersona.methods import rowwise_streamed, steering, taylor_streamed
from jaxpersona.methods.methods import AnyMethod, Method, SparseGPT, Steering
from jaxpersona.models.streamed_model import StreamedModel


def find_masks(
    model: StreamedModel, method: AnyMethod, calibration: Calibration, seed: int, report: Report, checkpoints: Checkpoints
) -> tuple[Persona, Persona]:
    """The masks, or steering vectors, of both personas; what the method needs is collected on the way.

    Raises:
      InputError: as ``discovery.find_masks``, and where a method changes weights.
    """
    progress = functools.partial(report, "mask")
    if isinstance(method, SparseGPT):
        return rowwise_streamed.prune_by_hessians(model, method, calibration, progress, checkpoints)
    if isinstance(method, Method):
        both, statistics = rowwise_streamed.prune(model, method, calibration, seed, progress, checkpoints)
        if statistics is not None:
            calibration.keep("statistics", statistics)
        return both
    if isinstance(method, Steering):
        calibration.keep("residuals", rowwise_streamed.collect_residuals(model, calibration, progress, checkpoints["residuals"]))
        return steering.steer(method, calibration.residuals, 0), steering.steer(method, calibration.residuals, 1)
    return taylor_streamed.prune(model, method, calibration, report, checkpoints)
