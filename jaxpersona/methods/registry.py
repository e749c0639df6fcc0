"""Registry of methods. To add a method, add a file to this folder and a line to ``METHODS``.

A setting that no other method has is also a field of ``MethodOptions`` in ``commands/discover_config.py``.
"""

import dataclasses

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.kinds import check_kinds
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
"""Former names, which configurations and runs on disk still contain."""


def by_name(name: str, **settings: object) -> Method:
    """Returns the method called ``name`` with ``settings``; a setting of None keeps the method's default.

    Raises:
      InputError: if the method is unknown, has no such setting, or a setting is of another kind or out of range.
    """
    name = ALIASES.get(name, name)
    if name not in METHODS:
        raise InputError(f"method.name {name!r} is unknown; {nearest(name, METHODS)}")
    settings = {key: value for key, value in settings.items() if value is not None}
    known = {field.name for field in dataclasses.fields(METHODS[name])}
    for key in settings:
        if key not in known:
            raise InputError(f"method {name} has no setting {key!r}; it has: {', '.join(sorted(known))}")
    check_kinds(METHODS[name], settings, f"method {name}")
    return METHODS[name](**settings)  # type: ignore[arg-type]
