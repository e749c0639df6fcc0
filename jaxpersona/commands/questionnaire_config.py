"""Configuration of the command ``questionnaire``."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import MeshOptions, TextOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least, check_seed


@dataclasses.dataclass(frozen=True)
class QuestionnaireConfig:
    """Has the base model and the masks of runs answer a questionnaire.

    Args:
      run ([DIR,...]): folders of discover runs on one model, or a folder of such folders; four runs on the built-in axes give 16
        types; required
      questionnaire: axes: extraversion, intuition, feeling, perceiving; ipip_neo_120: Big Five; reaction: what a character of a
        script would say
      script (SPEC): for reaction: builtin:lighthouse, or a folder with reaction.json, as in RoleAgentBench
      letters: for axes and reaction: also ask for a letter, in both or all orders of the options
      sampled: also sample answers, beside the probabilities of the options
      combine: weights that a type keeps: those kept by all four of its masks, or by any
      types: how the 16 types answer: by likelihood alone, which takes a tenth of the time, or in all ways
      respondents (NUMBER): for ipip_neo_120: number of descriptions behind which statements are rated, 2 to 12; default: 6
      text: text around a question: chat template; joined by spaces (prompt_response); default: as calibrated
      perplexity: neutral text that measures the damage of a mask
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      seed: seed of samples and bootstrap
      mesh: data x model must equal the number of devices
      output_dir (DIR): folder for NAME.json, NAME.png and NAME.svg; default: analysis/ in the folder given as run
    """

    run: list[str] | str | None = None
    questionnaire: Literal["axes", "ipip_neo_120", "reaction"] = "axes"
    script: str | None = None
    letters: bool = True
    sampled: bool = True
    combine: Literal["all", "any"] = "all"
    types: Literal["likelihood", "all"] = "likelihood"
    respondents: int | None = None
    text: Literal["chat", "prompt_response"] | None = None
    perplexity: TextOptions = dataclasses.field(default_factory=lambda: TextOptions(max_tokens=1024))
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 42
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    output_dir: str | None = None
    shown_first: ClassVar[tuple[str, ...]] = ("run", "questionnaire", "script", "sampled", "output_dir")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {"questions": ("letters", "combine", "types", "respondents", "text")}

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.respondents is not None:
            check_at_least(2, self.respondents, "respondents")
            if self.questionnaire != "ipip_neo_120":
                raise InputError(f"respondents are for ipip_neo_120, not for {self.questionnaire}; leave them out")
        for key, given in {"combine": self.combine != "all", "types": self.types != "likelihood"}.items():
            if given and self.questionnaire != "axes":
                raise InputError(f"{key} is an option of axes, not of {self.questionnaire}; leave it out")
        if not self.letters and self.questionnaire == "ipip_neo_120":
            raise InputError("ipip_neo_120 is rated by letters; leave out letters")
        if not self.runs:
            raise InputError("give the folder of a discover run, or of several: --run DIR or --run [DIR,DIR2]")
        if (self.questionnaire == "reaction") != (self.script is not None):
            raise InputError("--script and --questionnaire reaction belong together; give both, or neither")

    @property
    def runs(self) -> list[str]:
        """The folders, each once."""
        return list(dict.fromkeys([self.run] if isinstance(self.run, str) else self.run or []))
