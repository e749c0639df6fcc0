"""What a discovery would take, from its configuration, the model's header, the data and the tokenizer: no weights are read."""

import jax
from jax.sharding import Mesh

from jaxpersona.calibration.calibrate import calibrate
from jaxpersona.commands.discover_config import DiscoverConfig
from jaxpersona.core.accelerators import this_accelerator
from jaxpersona.data.packing import NOTHING
from jaxpersona.data.pairs import Pairs
from jaxpersona.discovery.plan import Devices, Plan, Texts, plan
from jaxpersona.methods.methods import AnyMethod
from jaxpersona.models.model import Found, Model
from jaxpersona.models.precision import pick_dtypes

_ROW, _ROWS = 256, 16
"""What a batch of a device holds unless texts are long or few."""


def plan_of(config: DiscoverConfig, method: AnyMethod, found: Found, mesh: Mesh, pairs: Pairs | None = None) -> Plan:
    """The plan of ``config`` on the devices there are.

    Args:
      found: the model's files.
      pairs: the data; without them the plan's memory is right for data of usual length, and its times mean nothing.

    Raises:
      InputError: when no pair is usable.
    """
    shape = dict(mesh.shape)
    texts = Texts(config.data.num_samples, 0, 1, _ROWS * shape["data"], _ROW)
    if pairs is not None:
        texts = _texts(config, method, found, pairs, shape["data"])
    kind = this_accelerator(measure=pairs is not None)
    devices = Devices(kind, **shape, is_host=jax.local_devices()[0].platform == "cpu")
    dtype, batch_dtype = pick_dtypes(config.model.dtype)
    sizes = dtype.itemsize, batch_dtype.itemsize
    return plan(found.config, method, texts, devices, *sizes, config.perplexity.max_tokens, config.stream_layers)


def _texts(config: DiscoverConfig, method: AnyMethod, found: Found, pairs: Pairs, share: int) -> Texts:
    """The drawn pairs as they would be packed."""
    data = config.data
    model = Model(config.model.name, found.origin, found.config, {}, found.tokenizer, found.eos_ids)
    options = {"num_samples": data.num_samples, "max_length": data.max_length, "seed": config.seed}
    calibration = calibrate(model, pairs, text=data.text, protocol=config.protocol, **options)
    batches = calibration.packed(share, opened="statistics" in method.needs)
    rows, length = batches[0].tokens.shape
    tokens = sum(int((batch.pair != NOTHING).sum()) for batch in batches)
    return Texts(len(calibration.tokenized), tokens, len(batches), rows, length)
