"""Configuration of the command ``perplexity``."""

import dataclasses

from jaxpersona.commands.shared_config import MeshOptions, ModelOptions, check_at_least


@dataclasses.dataclass(frozen=True)
class PerplexityConfig:
    """Measures a model's perplexity, the check that it was loaded right.

    Args:
      model: which language model
      text: builtin:neutral, or a UTF-8 text file such as the WikiText-2 test split
      max_tokens: how much of it is read
      window: tokens a window; each token is predicted from those before it in its window
      mesh: how devices share the work
    """

    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    text: str = "builtin:neutral"
    max_tokens: int = 4096
    window: int = 512
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        check_at_least(2, self.max_tokens, "max_tokens")
        check_at_least(2, self.window, "window")
