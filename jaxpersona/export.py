"""Command: writes the model of a run under a persona as a Hugging Face folder.

python -m jaxpersona.export --run runs/quickstart --persona seek --format hf --output_dir models/seek
"""

import dataclasses
import functools
from typing import Literal

from jaxpersona import cli
from jaxpersona.config import check_at_least
from jaxpersona.errors import InputError


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes a model whose weights are masked, for Transformers and everything that reads its folders.

    Args:
      run: folder of a discover run
      persona: name of one of its personas; none writes the model as it is
      output_dir: the folder to write, which must be new or empty
      format: hf, a Hugging Face folder of safetensors
      gamma: share of its strength a removed weight keeps, in [0, 1)
      shard_mb: megabytes a file of weights; larger models have several
    """

    run: str
    persona: str
    output_dir: str
    format: Literal["hf"] = "hf"
    gamma: float = 0.0
    shard_mb: int = 5000

    def __post_init__(self) -> None:
        check_at_least(1, self.shard_mb, "shard_mb")
        if not 0 <= self.gamma < 1:
            raise InputError(f"gamma is {self.gamma}; it must lie in [0, 1)")


def main(config: ExportConfig) -> None:
    """Writes the folder, a tensor at a time, and says what was written."""
    import pathlib

    from jaxpersona.bundle import load_masks
    from jaxpersona.models.hf_folder import write_folder
    from jaxpersona.models.model import find
    from jaxpersona.models.streamed import load_streamed
    from jaxpersona.run_folder import persona_bundle, read_run
    from jaxpersona.steering import SteeringVectors

    name, persona = read_run(config.run)["model"]["name"], None
    if config.persona != "none":
        persona = load_masks(persona_bundle(config.run, config.persona), load_streamed(name))
    if isinstance(persona, SteeringVectors):
        raise InputError(f"{config.persona} is a steering vector, for which Hugging Face models have no place; export masks")
    target = pathlib.Path(config.output_dir).expanduser()
    with cli.progress_bars() as report:
        progress = functools.partial(report, "export")
        write_folder(target, find(name), persona, config.gamma, config.shard_mb * 10**6, progress)
    print(f"Written: {target} ({', '.join(sorted(file.name for file in target.iterdir()))})")


if __name__ == "__main__":
    cli.run("export", ExportConfig, main)
