"""Methods by name. A new method is a file in this folder and a line in ``METHODS``."""

import dataclasses

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.methods.contrastive_sparse import ContrastiveSparse
from jaxpersona.methods.contrastive_wanda import ContrastiveWanda
from jaxpersona.methods.magnitude import Magnitude
from jaxpersona.methods.method import Method
from jaxpersona.methods.random import Random
from jaxpersona.methods.sparse import Sparse
from jaxpersona.methods.sparsegpt import SparseGPT
from jaxpersona.methods.steering import Steering
from jaxpersona.methods.taylor import Taylor
from jaxpersona.methods.wanda import Wanda

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Wanda, Sparse, SparseGPT, ContrastiveWanda, ContrastiveSparse, Magnitude, Random, Taylor, Steering)
}
ALIASES = {"first_order": "taylor"}
"""Former names, in configurations and in runs on disk."""


def by_name(name: str, **settings: object) -> Method:
    """Returns the method called ``name`` with ``settings``; those that are None keep the method's default.

    Raises:
      InputError: for an unknown method, or a setting it does not have.
    """
    name = ALIASES.get(name, name)
    if name not in METHODS:
        raise InputError(f"method.name {name!r} is unknown; {nearest(name, METHODS)}")
    settings = {key: value for key, value in settings.items() if value is not None}
    known = {field.name for field in dataclasses.fields(METHODS[name])}
    for key in settings:
        if key not in known:
            raise InputError(f"method {name} has no setting {key!r}; it has: {', '.join(sorted(known))}")
    return METHODS[name](**settings)  # type: ignore[arg-type]
