"""Command: writes a persona of a run, or the model under it, for other programs.

python -m jaxpersona.export --run runs/quickstart --persona seek --format hf --output_dir models/seek
"""

import pathlib
from collections.abc import Callable
from types import NoneType
from typing import Any

from jaxpersona.commands.export_config import ExportConfig
from jaxpersona.commands.progress_bars import progress_bars
from jaxpersona.commands.run_record import persona_bundle, read_run
from jaxpersona.core.errors import InputError
from jaxpersona.core.stage import Stage
from jaxpersona.exporters.control_vector import write_control_vector
from jaxpersona.exporters.gguf_file import write_gguf
from jaxpersona.exporters.gguf_metadata import architecture_of
from jaxpersona.exporters.hf_folder import write_folder
from jaxpersona.exporters.lora import write_lora
from jaxpersona.exporters.masked_weights import Weights
from jaxpersona.exporters.new_folder import new_folder
from jaxpersona.exporters.shira import write_shira
from jaxpersona.inference.persona_names import parse_persona
from jaxpersona.inference.persona_weights import check_shares, persona_of
from jaxpersona.masks.bundle import load_masks, read_metadata
from jaxpersona.masks.masks import Masks
from jaxpersona.masks.packed_safetensors import MASK_FILE, write_packed
from jaxpersona.masks.pt_files import write_pt_files
from jaxpersona.masks.steering_vectors import SteeringVectors
from jaxpersona.masks.weight_update import WeightUpdate
from jaxpersona.models.model_files import ModelFiles, open_files
from jaxpersona.models.persona import Persona
from jaxpersona.models.streamed_model import load_streamed

_ABOUT = ("persona", "personas", "model", "fingerprint", "method", "data")


_SHARD_MB, _LISTED = 5000, 6
_WEIGHTS = (Masks, WeightUpdate)
_KINDS = {
    NoneType: "the base model",
    Masks: "masks",
    WeightUpdate: "masks with updated weights",
    SteeringVectors: "a steering vector",
}


def main(config: ExportConfig) -> None:
    """Writes the folder and prints the names of its files.

    Raises:
      InputError: if the run or persona is invalid, the format has no place for it, or the folder cannot be written.
    """
    name = read_run(config.run)["model"]["name"]
    persona, target = _persona(config, name), pathlib.Path(config.output_dir).expanduser()
    write, kinds = _FORMATS[config.format]
    if not isinstance(persona, kinds):
        raise InputError(_no_place(config, persona))
    with progress_bars() as report:
        note = write(config, open_files(name), persona, target, Stage(report).part("export"))
    names = sorted(file.name for file in target.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    print(f"Written: {target} ({', '.join(names[:_LISTED])}{more})")
    if note:
        print(note)


def _persona(config: ExportConfig, name: str) -> Persona | None:
    """Returns the persona or mixture; None for the base model."""
    shares = parse_persona(config.persona)
    bundles = {part: persona_bundle(config.run, part) for part in shares}
    if not bundles and config.gamma:
        raise InputError(f"gamma is {config.gamma}, but no persona is given for it to soften")
    if not bundles:
        return None
    model = load_streamed(name)
    personas = {part: load_masks(bundle, model) for part, bundle in bundles.items()}
    check_shares(personas, tuple(shares.items()))
    return persona_of(personas, tuple(shares.items()))


def _no_place(config: ExportConfig, persona: Persona | None) -> str:
    """Returns why a format cannot hold a persona, and which ones can."""
    kind = next(kind for cls, kind in _KINDS.items() if isinstance(persona, cls))
    able = [name for name, (_, kinds) in _FORMATS.items() if isinstance(persona, kinds)]
    return f"{config.persona} is {kind}, for which {config.format} has no place; export with --format {' or '.join(able)}"


def _hf(config: ExportConfig, files: ModelFiles, persona: Weights | None, target: pathlib.Path, stage: Stage) -> str:
    write_folder(target, files, persona, config.gamma, (config.shard_mb or _SHARD_MB) * 10**6, stage)
    return ""


def _gguf(config: ExportConfig, files: ModelFiles, persona: Weights | None, target: pathlib.Path, stage: Stage) -> str:
    outtype = config.outtype or "q8_0"
    with new_folder(target) as folder:
        write_gguf(folder / f"model-{outtype}.gguf", files, persona, config.gamma, outtype, stage)
    return ""


def _shira(config: ExportConfig, files: ModelFiles, persona: Masks, target: pathlib.Path, stage: Stage) -> str:
    base, note = _base(files)
    with new_folder(target) as folder:
        rank = write_shira(folder, files, persona, config.gamma, base, stage)
    return f"r is {rank}. {note}"


def _lora(config: ExportConfig, files: ModelFiles, persona: Weights, target: pathlib.Path, stage: Stage) -> str:
    base, note = _base(files)
    assert config.rank is not None
    with new_folder(target) as folder:
        held = write_lora(folder, files, persona, config.rank, config.gamma, base, stage)
    return f"Rank {config.rank} holds {held:.1%} of the change (squared norm): an approximation. {note}"


def _base(files: ModelFiles) -> tuple[str, str]:
    """Returns the hub repository of an adapter's base model, empty if there is none, and a note on the base's weights."""
    origin = files.origin.removeprefix("hub ")
    if origin != files.origin:
        return origin, ""
    return "", f"It fits the weights of {files.path.name} only; --persona none --format hf writes them for Transformers."


def _safetensors(config: ExportConfig, files: ModelFiles, persona: Masks, target: pathlib.Path, stage: Stage) -> str:
    with new_folder(target) as folder:
        write_packed(folder / MASK_FILE, persona, _about(config))
    return ""


def _pt(config: ExportConfig, files: ModelFiles, persona: Masks, target: pathlib.Path, stage: Stage) -> str:
    with new_folder(target) as folder:
        write_pt_files(folder, persona, stage)
    return ""


def _about(config: ExportConfig) -> dict[str, Any]:
    """Returns what the bundles of a persona or mixture say of it."""
    found = [read_metadata(persona_bundle(config.run, part)) for part in parse_persona(config.persona)]
    return {**{key: found[0][key] for key in _ABOUT if key in found[0]}, "persona": config.persona}


def _control_vector(config: ExportConfig, files: ModelFiles, persona: SteeringVectors, target: pathlib.Path, stage: Stage) -> str:
    with new_folder(target) as folder:
        write_control_vector(folder / "control_vector.gguf", persona, architecture_of(files.config), config.gamma)
    return ""


_FORMATS: dict[str, tuple[Callable[..., str], tuple[type, ...]]] = {
    "hf": (_hf, (NoneType, *_WEIGHTS)),
    "gguf": (_gguf, (NoneType, *_WEIGHTS)),
    "shira": (_shira, (Masks,)),
    "lora": (_lora, _WEIGHTS),
    "safetensors": (_safetensors, (Masks,)),
    "pt": (_pt, (Masks,)),
    "control-vector": (_control_vector, (SteeringVectors,)),
}
"""How each format is written, and the kinds of persona that it holds; None is the base model."""
