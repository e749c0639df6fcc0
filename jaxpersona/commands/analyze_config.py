"""Configuration of the command ``analyze``."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import EvaluateData, TextOptions
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.ranges import check_at_least, check_seed

ANALYSES = ("masks", "representations", "restoration", "mixing", "steerability", "entanglement")
"""Names of the analyses, in the order in which they run."""
_QUESTIONS = 40


@dataclasses.dataclass(frozen=True)
class AnalyzeConfig:
    """Looks into the masks of runs, and into the personas they make.

    Args:
      run ([DIR,...]): folders of discover runs, all on one model; required
      analysis ([NAME,...]): masks, representations, restoration, mixing, steerability, entanglement; default: all
      data: held-out pairs; a file has columns question, matching, not_matching
      units ([NAME,...]): restoration: layers, attention or mlp of each layer, modules
      levels ([NUMBER,...]): mixing and steerability: strengths, 1 - gamma, and shares of the first mask
      controls ([KIND,...]): steerability: masks random, magnitude, neutral, shuffled (labels; as slow as discover)
      sets ([SPEC,...]): entanglement: pairs to measure; default: all built-in sets
      perplexity: neutral text, for damage and for hidden states
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      seed: of drawn pairs, random order and bootstrap
      output_dir (DIR): folder for NAME.json, NAME.png and NAME.svg; default: analysis/ in the run, the first if of several
    """

    run: list[str] | str | None = None
    analysis: list[str] | str | None = None
    data: EvaluateData = dataclasses.field(default_factory=lambda: EvaluateData(num_samples=_QUESTIONS))
    units: list[str] | str = dataclasses.field(default_factory=lambda: ["layers", "modules"])
    levels: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    controls: list[str] | str | None = dataclasses.field(default_factory=lambda: ["random"])
    sets: list[str] | str | None = None
    perplexity: TextOptions = dataclasses.field(default_factory=lambda: TextOptions(max_tokens=1024))
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    output_dir: str | None = None
    shown_first: ClassVar[tuple[str, ...]] = ("run", "analysis", "data.source", "data.num_samples", "output_dir")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {"analyses": ("units", "levels", "controls", "sets")}

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, self.perplexity.max_tokens, "perplexity.max_tokens")
        if not self.runs:
            raise InputError("give the folder of a discover run, or of several: --run DIR or --run [DIR,DIR2]")
        for name in self.names:
            if name not in ANALYSES:
                raise InputError(f"analysis {name!r} is unknown; {nearest(name, ANALYSES)}")
        if len(self.levels) < 2 or sorted(set(self.levels)) != self.levels or not 0 <= self.levels[0] < self.levels[-1] <= 1:
            raise InputError(f"levels are {self.levels}; give at least two rising numbers in [0, 1]")

    @property
    def runs(self) -> list[str]:
        """The runs' folders, each once."""
        return list(dict.fromkeys(listed(self.run)))

    @property
    def names(self) -> list[str]:
        """The names of the analyses, in the order in which they run."""
        asked = listed(self.analysis) or list(ANALYSES)
        return sorted(set(asked), key=lambda name: ANALYSES.index(name) if name in ANALYSES else -1)


def listed(values: list[str] | str | None) -> list[str]:
    """Returns one value or a list of values as a list; nothing for None."""
    return [values] if isinstance(values, str) else values or []
