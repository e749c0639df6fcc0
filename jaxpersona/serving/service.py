"""What all handlers of the server share."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from transformers import PreTrainedTokenizerBase

from jaxpersona.inference.requests import Request, stop_ids
from jaxpersona.models.model import ModelIdentity
from jaxpersona.serving.catalogue import Catalogue
from jaxpersona.serving.engine_loop import EngineLoop
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.metrics import Metrics
from jaxpersona.serving.persona_spec import PersonaSpec
from jaxpersona.serving.token_texts import TokenTexts
from jaxpersona.serving.topics import Topic


@dataclasses.dataclass(frozen=True)
class ServiceSettings:
    """Settings of the server.

    Attributes:
      chat: whether chats go through the model's chat template; False joins their messages with spaces.
      max_body_bytes: largest body of a request.
      api_key: what clients must send as bearer token; empty asks for none.
      allow_loading: whether clients may load and remove personas.
      log_texts: whether prompts and answers are logged.
    """

    chat: bool = True
    max_body_bytes: int = 4 * 2**20
    api_key: str = ""
    allow_loading: bool = False
    log_texts: bool = False


@dataclasses.dataclass
class Service:
    """The running server's parts.

    Attributes:
      loop: runs the engine.
      catalogue: models on offer.
      settings: settings of the server.
      identity: of the model, to which personas that are loaded must belong.
      topics: topics that conditions may name; none unless the server was started with conditions.
      draining: whether new requests are refused, because the server is about to end.
    """

    loop: EngineLoop
    catalogue: Catalogue
    identity: ModelIdentity
    settings: ServiceSettings = dataclasses.field(default_factory=ServiceSettings)
    topics: Mapping[str, Topic] = dataclasses.field(default_factory=dict)
    draining: bool = dataclasses.field(default=False, init=False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.loop.engine.tokenizer

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Measurements of the running server."""
        return Metrics(self.loop.engine)

    @functools.cached_property
    def token_texts(self) -> TokenTexts:
        """Texts of single tokens."""
        return TokenTexts(self.tokenizer)

    def check_size(self, field: str, texts: Iterable[str]) -> None:
        """Checks that texts could fit, before they are tokenized: megabytes take seconds, in which nobody else is answered.

        Raises:
          ApiError: 400, naming the field of the texts.
        """
        characters, most = sum(map(len, texts)), self.loop.engine.max_length * self.token_texts.longest
        if characters > most:
            message = f"{field} has {characters} characters; at most {self.loop.engine.max_length} tokens fit"
            raise ApiError(400, message, field, "context_length_exceeded")

    def check_room(self, prompt_field: str, length_field: str, prompt: int, new: int, least: int = 1) -> None:
        """Checks that a prompt and its answer fit.

        Args:
          prompt_field: field of the prompt.
          length_field: field of the answer's length.
          prompt: tokens of the prompt.
          new: largest number of new tokens.
          least: smallest number of new tokens that makes sense.

        Raises:
          ApiError: 400, naming the field that is too large.
        """
        most = self.loop.engine.max_length
        if prompt >= most:
            message = f"{prompt_field} has {prompt} tokens; at most {most - 1} fit, which leaves one for the answer"
            raise ApiError(400, message, prompt_field, "context_length_exceeded")
        if not least <= new <= most - prompt:
            message = f"{length_field} is {new}, but the prompt has {prompt} tokens of {most}; give {least} to {most - prompt}"
            raise ApiError(400, message, length_field, "context_length_exceeded" if new > least else "invalid_value")

    def check_count(self, prompt_field: str, answers: int) -> None:
        """Checks that the answers to a request can wait at once.

        Raises:
          ApiError: 400, naming the field of the prompts.
        """
        most = self.loop.engine.queue_limit
        if answers > most:
            raise ApiError(400, f"{answers} answers are asked for at once; at most {most} fit", prompt_field, "too_many")

    def check_request(self, fields: Fields, request: Request) -> None:
        """Checks the persona and the stop texts of a request to the engine.

        Raises:
          ApiError: 400, naming the field that is wrong.
        """
        fields.checked("persona", lambda: self.loop.engine.check(request))
        fields.checked("stop", lambda: stop_ids(self.tokenizer, request.stop))

    def settle(self, persona: PersonaSpec, prompt: str, field: str = "persona") -> PersonaSpec:
        """Returns the persona that answers a prompt: the base model if its condition is not met.

        Args:
          persona: from the request.
          prompt: text that the condition is about.
          field: field of the request with the condition.

        Raises:
          ApiError: 400, if there is no such topic.
        """
        if not persona.topic:
            return persona
        topic = self.topics.get(persona.topic)
        if topic is None:
            known = f"topics: {', '.join(self.topics)}" if self.topics else "start the server with --conditions true"
            message = f"{field}.if is {persona.topic!r}, which is no topic here; {known}"
            raise ApiError(400, message, f"{field}.if", "invalid_value")
        about = topic.log_odds(self.tokenizer, prompt) > 0
        return dataclasses.replace(persona, topic="") if about else PersonaSpec({})
