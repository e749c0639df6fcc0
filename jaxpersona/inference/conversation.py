"""A conversation whose persona, gamma and system text may change from turn to turn."""

from collections.abc import Sequence

from jaxpersona.core.errors import InputError
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.persona_names import parse_persona
from jaxpersona.inference.requests import Generation, OnText, Request
from jaxpersona.models.sampling import Sampling


class Conversation:
    """The turns so far, and who answers next.

    Attributes:
      personas: who answers, as ``parse_persona`` reads them; what the first of them says is remembered.
      gamma: share of its strength a removed weight keeps.
      system: system text before all turns.
    """

    def __init__(
        self, engine: Engine, persona: str, gamma: float, system: str, max_new_tokens: int, sampling: Sampling, seed: int
    ):
        self.engine, self.gamma, self.system = engine, gamma, system
        self.max_new_tokens, self.sampling, self.seed = max_new_tokens, sampling, seed
        self.personas = [persona]
        self._turns: list[dict[str, str]] = []

    def switch(self, personas: Sequence[str]) -> None:
        """Lets others answer from now on; the turns so far stay.

        Raises:
          InputError: for a persona the engine does not know.
        """
        for name in personas:
            self.engine.check(self._request(name, []))
        self.personas = list(personas)

    def set_gamma(self, text: str) -> None:
        """Sets gamma from a user's text.

        Raises:
          InputError: when it is no number in [0, 1).
        """
        try:
            gamma = float(text)
        except ValueError:
            raise InputError(f"gamma is {text!r}; give a number in [0, 1)") from None
        if not 0 <= gamma < 1:
            raise InputError(f"gamma is {gamma}; it must lie in [0, 1)")
        self.gamma = gamma

    def forget(self) -> None:
        """Starts anew, with the same personas."""
        self._turns = []

    def ask(self, text: str, on_text: OnText | None = None) -> list[Generation]:
        """The answers of all personas to the next turn; ``on_text`` gets the first one's as it comes.

        The oldest turns are forgotten where the engine has no room for all. When interrupted, the answers end where they are, and
        the turn is remembered as it is.

        Raises:
          InputError: for an empty text, one too long by itself, or whatever went wrong with an answer.
        """
        if not text.strip():
            raise InputError("a prompt is empty; give some text")
        turns = [*self._turns, {"role": "user", "content": text}]
        while len(turns) > 1 and not self._fits(turns):
            turns = turns[2:]
        asked = [self.engine.submit(self._request(self.personas[0], turns), on_text)]
        asked += [self.engine.submit(self._request(name, turns)) for name in self.personas[1:]]
        try:
            self.engine.run()
        except KeyboardInterrupt:
            for generation in asked:
                generation.cancel()
            self.engine.run()
        for generation in asked:
            if generation.error is not None:
                raise generation.error
        self._turns = [*turns, {"role": "assistant", "content": asked[0].text}]
        return asked

    def _fits(self, turns: list[dict[str, str]]) -> bool:
        ids = self._request("none", turns).ids(self.engine.tokenizer)
        return len(ids) + self.max_new_tokens <= self.engine.max_length

    def _request(self, name: str, turns: list[dict[str, str]]) -> Request:
        opening = [{"role": "system", "content": self.system}] if self.system.strip() else []
        shares = parse_persona(name)
        soft = self.gamma if shares else 0.0
        return Request([*opening, *turns], shares or None, soft, self.max_new_tokens, self.sampling, seed=self.seed)
