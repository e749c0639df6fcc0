"""Loads the model and personas of a run."""

from collections.abc import Iterable

from jax.sharding import Mesh

from jaxpersona.commands.run_record import persona_bundle, read_run, template_of
from jaxpersona.masks.bundle import load_masks
from jaxpersona.models.model import Model, load_model
from jaxpersona.models.persona import Persona
from jaxpersona.models.precision import Dtype


def load_personas(run: str, names: Iterable[str], dtype: Dtype, mesh: Mesh | None = None) -> tuple[Model, dict[str, Persona]]:
    """Loads the model of a run, with the run's settings of its chat template, and the named personas.

    Args:
      run: the run's folder.
      names: names of personas; repeated ones are loaded once.
      dtype: as in ``load_model``.
      mesh: as in ``load_model``.

    Raises:
      InputError: if there is no such run or persona, or the persona was made for other weights.
    """
    bundles = {name: persona_bundle(run, name) for name in dict.fromkeys(names)}
    record = read_run(run)
    model = load_model(record["model"]["name"], dtype, mesh=mesh, template=template_of(record))
    return model, {name: load_masks(bundle, model) for name, bundle in bundles.items()}
