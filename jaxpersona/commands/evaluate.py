"""Command: evaluates masks on held-out pairs.

python -m jaxpersona.evaluate --run runs/quickstart --controls true
python -m jaxpersona.evaluate --masks runs/quickstart/masks/seek --output_dir runs/seek_alone
"""

from jaxpersona.commands.evaluate_config import EvaluateConfig
from jaxpersona.commands.evaluate_masks import evaluate_masks
from jaxpersona.commands.masks_on_disk import of_bundles, of_run

INTERRUPTED = "what is done is kept; resume with: {again}"


def main(config: EvaluateConfig) -> None:
    """Writes ``evaluation.json``, ``evaluation.csv``, certificates, ``report.html``; open answers: ``answers.jsonl``, ``.md``.

    Raises:
      InputError: as ``evaluate_masks``, or if the run or masks are invalid.
    """
    bundles = [config.masks] if isinstance(config.masks, str) else config.masks or []
    evaluate_masks(config, of_run(config.run, config.model) if config.run is not None else of_bundles(bundles, config.model))
