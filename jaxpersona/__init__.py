"""jaxpersona finds persona subnetworks in language models: sparse masks under which a frozen model takes on a persona.

import jaxpersona as jp

model = jp.load_model("smollm2-135m-instruct")
run = jp.discover(model, jp.load_pairs("builtin:wealth"), method=jp.methods.Wanda(sparsity=0.3))
masked = jp.apply_mask(model.params, run.masks["seek"])
print(jp.generate(model, ["How would you spend a bonus?"], persona=run.masks["seek"]))
"""

import importlib
import os
import sys
import types
from typing import TYPE_CHECKING, Any

# Transformers is used for tokenizers alone; its advice to install PyTorch would only mislead.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

if TYPE_CHECKING:
    from jaxpersona import methods as methods
    from jaxpersona.bundle import load_masks as load_masks
    from jaxpersona.bundle import save_masks as save_masks
    from jaxpersona.calibration import Calibration as Calibration
    from jaxpersona.calibration import calibrate as calibrate
    from jaxpersona.data.pairs import Pair as Pair
    from jaxpersona.data.pairs import Pairs as Pairs
    from jaxpersona.data.readers import load_pairs as load_pairs
    from jaxpersona.discovery import Run as Run
    from jaxpersona.discovery import discover as discover
    from jaxpersona.discovery import find_masks as find_masks
    from jaxpersona.errors import InputError as InputError
    from jaxpersona.evaluation.comparison import evaluate as evaluate
    from jaxpersona.inference.decoding import generate as generate
    from jaxpersona.inference.sampling import Sampling as Sampling
    from jaxpersona.language_modelling import perplexity as perplexity
    from jaxpersona.masks import Masks as Masks
    from jaxpersona.masks import apply_mask as apply_mask
    from jaxpersona.masks import jaccard as jaccard
    from jaxpersona.masks import mix as mix
    from jaxpersona.models.model import Model as Model
    from jaxpersona.models.model import load_model as load_model
    from jaxpersona.models.streamed import load_streamed as load_streamed

_HOME = {
    "Calibration": "calibration",
    "InputError": "errors",
    "Masks": "masks",
    "Model": "models.model",
    "Pair": "data.pairs",
    "Pairs": "data.pairs",
    "Run": "discovery",
    "Sampling": "inference.sampling",
    "apply_mask": "masks",
    "calibrate": "calibration",
    "discover": "discovery",
    "find_masks": "discovery",
    "evaluate": "evaluation.comparison",
    "generate": "inference.decoding",
    "jaccard": "masks",
    "load_masks": "bundle",
    "load_model": "models.model",
    "load_pairs": "data.readers",
    "load_streamed": "models.streamed",
    "mix": "masks",
    "perplexity": "language_modelling",
    "save_masks": "bundle",
}
__all__ = sorted([*_HOME, "methods"])


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that ``--help`` does not wait for JAX."""
    if name == "methods":
        return importlib.import_module("jaxpersona.methods")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxpersona' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxpersona.{_HOME[name]}"), name)


class _Package(types.ModuleType):
    """Keeps ``jaxpersona.discover`` the function: Python would bind the command module of the same name once it is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
