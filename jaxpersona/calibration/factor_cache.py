"""Keeps the Fisher factors over text that a model generates, so that they are computed once per model, not per persona.

They depend on the model alone. A file in ``factors/`` of the cache folder is named by a hash of all that determines them, to the
last bit. Several processes do not use the cache, because their hosts may not share a folder.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import numpy as np

from jaxpersona.calibration.fisher import Factors
from jaxpersona.calibration.generated_text import TextAmount, beginnings
from jaxpersona.core import array_file, files
from jaxpersona.core.finite import check_finite
from jaxpersona.core.mesh import to_host
from jaxpersona.core.processes import several_processes
from jaxpersona.core.stage import QUIET, Stage
from jaxpersona.core.tree import Params, flatten
from jaxpersona.models.model import Model

RECIPE = 3
"""To be raised when generated text or its factors are computed otherwise: files of another recipe are not used."""
_MOST_BYTES = 8e9
_JAX_SETTINGS = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64")
_log = logging.getLogger(__name__)


def reuse(model: Model, amount: TextAmount, seed: int, make: Callable[[], Factors], stage: Stage = QUIET) -> Factors:
    """Returns the factors from the cache if they are there, else the result of ``make``, which is then kept.

    Keeps the files used last, up to 8 GB. A damaged file, or one that cannot be written, is a warning.

    Args:
      amount: of generated text.
      seed: of generated text.
      make: computes the factors.
      stage: progress says that the factors come from the cache.
    """
    if several_processes():
        return make()
    path = folder() / f"{_key(model, amount, seed)}.safetensors"
    found = _load(path, model)
    if found is not None:
        stage.part("generated text, from the cache").progress(1, 1)
        return found
    made = make()
    check_finite(vars(made), "gradients and second moments")
    _save(path, made)
    return made


def folder() -> pathlib.Path:
    """Returns the folder of the files."""
    return files.cache_folder() / "factors"


def _key(model: Model, amount: TextAmount, seed: int) -> str:
    """Returns a hash of all that the factors depend on."""
    device, mesh = jax.devices()[0], model.mesh
    facts = {
        "recipe": RECIPE,
        "weights": _digest_of_weights(model.params),
        "model": [repr(model.config), str(model.batch_dtype), model.quick_forms],
        "text": [beginnings(model, amount.texts, seed), amount.length, seed],
        "devices": [device.platform, device.device_kind, None if mesh is None else dict(mesh.shape)],
        "versions": [jax.__version__, jaxlib.__version__],
        "settings": [os.environ.get("XLA_FLAGS"), *(str(getattr(jax.config, name)) for name in _JAX_SETTINGS)],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _digest_of_weights(params: Params) -> str:
    """Returns the SHA-256 of all parameters; ``Model.fingerprint`` sees only a sample of the kernels."""
    leaves = sorted(flatten(params).items())
    return array_file.digest((path, np.asarray(to_host(leaf), order="C")) for path, leaf in leaves)


def _load(path: pathlib.Path, model: Model) -> Factors | None:
    if not os.path.isfile(path):  # noqa: PTH113, unlike a path's method False for a folder that cannot be read
        return None
    try:
        tree, _ = array_file.read(path, model.mesh)
        found = Factors(**tree)
    except array_file.DAMAGE as error:
        _log.warning("%s is damaged (%s); the factors in it are computed anew", path, error)
        return None
    with contextlib.suppress(OSError):  # a folder that cannot be written
        path.touch()
    return found


def _save(path: pathlib.Path, factors: Factors) -> None:
    """Writes the factors, unless they are larger than the cache may be."""
    tree: dict[str, Any] = dict(vars(factors))
    if sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) > _MOST_BYTES:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array_file.write(path, *array_file.on_host(tree), {})
        with contextlib.suppress(FileNotFoundError):  # another process deletes too
            _drop_oldest(path.parent)
    except OSError as error:
        _log.warning("factors could not be kept in %s (%s); the next run makes them anew", path.parent, error.strerror or error)


def _drop_oldest(folder: pathlib.Path) -> None:
    """Deletes the files that were used longest ago, half-written ones of killed processes included, until the rest fits."""
    total = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > _MOST_BYTES:
            path.unlink(missing_ok=True)
