"""Command: writes the model of a run under a persona as a Hugging Face folder.

python -m jaxpersona.export --run runs/quickstart --persona seek --format hf --output_dir models/seek
"""

import pathlib

from jaxpersona.commands.export_config import ExportConfig
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_folder import persona_bundle, read_run
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.exporters.hf_folder import write_folder
from jaxpersona.masks.bundle import load_masks
from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.models.model_files import open_files
from jaxpersona.models.streamed_model import load_streamed


def main(config: ExportConfig) -> None:
    """Writes the folder, with one tensor in memory at a time, and prints the names of its files.

    Raises:
      InputError: if the run or persona is invalid, the persona is a steering vector, or the folder cannot be written.
    """
    name, persona = read_run(config.run)["model"]["name"], None
    if config.persona != "none":
        persona = load_masks(persona_bundle(config.run, config.persona), load_streamed(name))
    if isinstance(persona, SteeringVectors):
        raise InputError(f"{config.persona} is a steering vector, for which Hugging Face models have no place; export masks")
    target = pathlib.Path(config.output_dir).expanduser()
    with progress_bars() as report:
        stage = Stage(report).part("export")
        write_folder(target, open_files(name), persona, config.gamma, config.shard_mb * 10**6, stage)
    print(f"Written: {target} ({', '.join(sorted(file.name for file in target.iterdir()))})")
