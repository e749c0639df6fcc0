"""Option groups that commands share. Fields of a configuration are its YAML keys and its command-line options.

``help_text.py`` says how docstrings become the help; ``cli.py`` how ``main_key`` is used.
"""

import dataclasses
from typing import ClassVar, Literal

from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least
from jaxpersona.core.template_settings import TemplateSettings

_RESERVED = {"none", "magnitude", "neutral", "longer", "shorter"}  # names of controls in evaluations


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Language model.

    Args:
      name (NAME): Hugging Face folder, .gguf file, hub repository OWNER/NAME, or the default
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (bfloat16 for batches if the CPU has AVX-512 BF16 or AMX)
    """

    name: str = "smollm2-135m-instruct"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    main_key: ClassVar[str] = "name"


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """Devices of all hosts; data times model is their number (docs/distributed.md).

    Args:
      data (DEVICES): number of devices that split the rows of a batch; default: all left by mesh.model
      model (DEVICES): number of devices that split the parameters; default: 1, of discover the smallest that fits
    """

    data: int | None = None
    model: int | None = None

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if value is not None:
                check_at_least(1, value, f"mesh.{key}")


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Calibration pairs, and the text around their answers.

    Args:
      source (SPEC): builtin:wealth or another set, a .csv or .jsonl file, tfds:NAME, hf:NAME, statements:, script:, lines: or
        'describe:A | B' (docs/data.md)
      split ({train,validation,test}): rows to use, by the column split of a file, or by questions if it has none (default: all);
        or a split (default: train)
      num_samples (PAIRS): number of calibration pairs, drawn with the seed (all if fewer)
      max_length (TOKENS): length at which longer texts are cut
      text: text around an answer: chat template; joined by spaces (prompt_response); answer alone (response); joined unchanged,
        without special tokens (raw)
      personas ([NAME,NAME]): names of the persona of the matching answers and of its opposite
      generated_texts (TEXTS): number of neutral texts that the model generates, for method taylor
      generated_length (TOKENS): length of each generated text
      template_date (DATE): day that a chat template prints as today's, YYYY-MM-DD
      enable_thinking: setting of some chat templates (Qwen3), for calibration texts and prompts alike
    """

    source: str = "builtin:wealth"
    split: str | None = None
    num_samples: int = 128
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] = "chat"
    personas: tuple[str, str] = ("seek", "reject")
    generated_texts: int = 48
    generated_length: int = 128
    template_date: str = TemplateSettings.date
    enable_thinking: bool = TemplateSettings.enable_thinking
    main_key: ClassVar[str] = "source"

    def __post_init__(self) -> None:
        check_at_least(1, self.num_samples, "data.num_samples")
        check_at_least(2, self.max_length, "data.max_length")
        check_at_least(1, self.generated_texts, "data.generated_texts")
        check_at_least(3, self.generated_length, "data.generated_length")
        for name in self.personas:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise InputError(f"data.personas: {name!r} cannot name a folder; use letters, digits, - and _")
        if self.personas[0] == self.personas[1] or _RESERVED & set(self.personas):
            raise InputError(
                f"data.personas {list(self.personas)}: give two different names other than {', '.join(sorted(_RESERVED))}"
            )
        TemplateSettings(self.template_date)  # its check is ours

    @property
    def template(self) -> TemplateSettings:
        """The settings of the chat template."""
        return TemplateSettings(self.template_date, self.enable_thinking)


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Neutral text on which perplexity is measured.

    Args:
      text (FILE): UTF-8 text file, such as the WikiText-2 test split, or builtin:neutral
      max_tokens (TOKENS): number of tokens measured; 0 skips the measurement
    """

    text: str = "builtin:neutral"
    max_tokens: int = 2048
    main_key: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        check_at_least(0, self.max_tokens, "perplexity.max_tokens")


@dataclasses.dataclass(frozen=True)
class EvaluateData:
    """Held-out pairs, and the text around their answers.

    Args:
      source (SPEC): as in discover, but not lines or describe (docs/data.md); default: calibration set's test split
      split ({train,validation,test}): rows to use, as in discover; default: test, or all of a file
      num_samples (PAIRS): number of held-out pairs, drawn with the seed (all if fewer)
      max_length (TOKENS): length at which longer texts are cut
      text: text around an answer: chat template; joined by spaces (prompt_response); answer alone (response); joined unchanged,
        without special tokens (raw); default: as calibrated
    """

    source: str | None = None
    split: str | None = None
    num_samples: int = 200
    max_length: int = 512
    text: Literal["chat", "prompt_response", "response", "raw"] | None = None
    main_key: ClassVar[str] = "source"

    def __post_init__(self) -> None:
        check_at_least(1, self.num_samples, "data.num_samples")
        check_at_least(2, self.max_length, "data.max_length")
