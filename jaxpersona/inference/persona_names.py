"""Personas as commands name them: ``none``, the name of a bundle in a run, or a mixture such as ``0.7*seek+0.3*reject``."""

from collections.abc import Iterable

from jax.sharding import Mesh

from jaxpersona.commands.run_folder import persona_bundle, read_run
from jaxpersona.core.errors import InputError
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.masks import Persona
from jaxpersona.models.model import Dtype, Model, load_model


def parse_persona(text: str) -> dict[str, float]:
    """Shares by name; empty for ``none``.

    Raises:
      InputError: when a share is no number.

    >>> parse_persona("0.7*seek + 0.3*reject"), parse_persona("seek"), parse_persona("none")
    ({'seek': 0.7, 'reject': 0.3}, {'seek': 1.0}, {})
    """
    if text.strip() == "none":
        return {}
    shares = {}
    for part in text.split("+"):
        share, star, name = part.rpartition("*")
        try:
            shares[name.strip()] = float(share) if star else 1.0
        except ValueError:
            raise InputError(f"persona {text!r}: {share.strip()!r} is no number; write 0.7*seek+0.3*reject") from None
    return shares


def load_personas(run: str, wanted: Iterable[str], dtype: Dtype, mesh: Mesh | None = None) -> tuple[Model, dict[str, Persona]]:
    """The model of a run, and its personas of these names; ``mesh`` as for ``load_model``.

    Raises:
      InputError: when there is no such run or persona, or it was made for other weights.
    """
    bundles = {name: persona_bundle(run, name) for name in dict.fromkeys(wanted)}
    model = load_model(read_run(run)["model"]["name"], dtype, mesh=mesh)
    return model, {name: load_masks(bundle, model) for name, bundle in bundles.items()}
