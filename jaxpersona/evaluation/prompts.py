"""Texts put before the questions of an evaluation: persona prompts, and samples retrieved for the base model alone."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import Protocol
from jaxpersona.data.chat_template import accepts_system
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text import TextMode
from jaxpersona.models.model import Model

NO_SYSTEM_TEXT = "persona prompts are left out, because the model's chat template takes no system text"
NO_PROMPT_SHOWN = "persona prompts are left out, because in data.text response the model sees answers alone"
"""Reasons why the cases behind persona prompts are missing."""
AddPrompt = Callable[[Pair], Pair]
"""Returns a pair with text added before its question."""


def with_system(text: str) -> AddPrompt:
    """Returns a function that adds a system text to a pair."""
    return functools.partial(dataclasses.replace, system=text)


def refuses_prompts(model: Model, text: TextMode) -> bool:
    """Returns whether the model cannot be given system texts: in mode ``chat``, if its template refuses them (Gemma 2)."""
    return text == "chat" and not accepts_system(model.tokenizer)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """What is put before questions.

    Attributes:
      texts: persona prompts by name, for the base model and the masks.
      retrieved: functions that add retrieved samples, by name, for the base model alone.
      unprompted: masks are also evaluated without a prompt.
      left_out: why persona prompts were asked for but left out; None if they were not.
    """

    texts: Mapping[str, str]
    retrieved: Mapping[str, AddPrompt]
    unprompted: bool = True
    left_out: str | None = None

    def by_name(self) -> dict[str, AddPrompt]:
        """Returns the functions that add each prompt; all are for the base model."""
        return {name: with_system(text) for name, text in self.texts.items()} | dict(self.retrieved)

    def of_masks(self) -> list[str]:
        """Returns the names of the prompts that masks are evaluated under; ``none`` is without a prompt."""
        return [*(["none"] if self.unprompted else []), *self.texts]

    def of_open_answers(self) -> dict[str, AddPrompt]:
        """Returns the functions by the names of the cases that they make of the base model."""
        return {f"prompt {name}": with_system(text) for name, text in self.texts.items()} | dict(self.retrieved)

    def of_personas(self, personas: tuple[str, str]) -> tuple[str, str] | None:
        """Returns the prompts of both personas; None if one is missing."""
        first, second = personas
        return (self.texts[first], self.texts[second]) if first in self.texts and second in self.texts else None


def why_left_out(model: Model, text: TextMode) -> str | None:
    """Returns why persona prompts cannot be put before questions; None if they can."""
    if text == "response":
        return NO_PROMPT_SHOWN
    return NO_SYSTEM_TEXT if refuses_prompts(model, text) else None


def usable_prompts(
    model: Model, texts: Mapping[str, str], retrieved: Mapping[str, AddPrompt], text: TextMode, protocol: Protocol
) -> Prompts:
    """Returns the prompts, without the persona prompts if the model would not see them or its chat template refuses them.

    Raises:
      InputError: if the protocol evaluates masks behind persona prompts, and there are none or they are left out; or if samples
        are retrieved that the model would not see.
    """
    left_out = why_left_out(model, text) if texts else None
    if retrieved and text == "response":
        raise InputError("baseline rag: in data.text response the model sees answers alone; choose another text mode, or no rag")
    if protocol.persona_prompt_in_evaluation and left_out:
        raise InputError(f"protocol {protocol.name} cannot be evaluated on this model: {left_out}")
    if protocol.persona_prompt_in_evaluation and not texts:
        raise InputError(f"protocol {protocol.name} evaluates masks behind a persona prompt; give two as prompts")
    return Prompts({} if left_out else texts, retrieved, not protocol.persona_prompt_in_evaluation, left_out)
