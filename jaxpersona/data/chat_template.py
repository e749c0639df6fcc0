"""Renders chat templates as Transformers does, with a pinned date. What a template raises becomes one line."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from transformers import PreTrainedTokenizerBase

from jaxpersona.core.errors import InputError, cause
from jaxpersona.core.template_settings import TemplateSettings, settings_of
from jaxpersona.data import bounded_template
from jaxpersona.data.bounded_template import BoundedEnvironment

_OTHER_MODE = "use --data.text prompt_response, or another model"
_PROBE = "Answer in brief."


class RefusedError(InputError):
    """A chat template refuses the messages, or leaves the system text out."""


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> str:
    """Returns the text of a chat, up to the start of the next answer unless the last message is an answer.

    Args:
      tokenizer: of the model, with its ``TemplateSettings``.
      messages: mappings with ``role`` and ``content``.

    Raises:
      RefusedError: if the template refuses the messages, or leaves out the system text.
      InputError: if there is no chat template, or it is damaged.
    """
    stripped = [{"role": message["role"], "content": message["content"].strip()} for message in messages]
    settings = settings_of(tokenizer)
    values: dict[str, Any] = {**tokenizer.special_tokens_map, "messages": stripped, "tools": None, "documents": None}
    values["add_generation_prompt"] = stripped[-1]["role"] != "assistant"
    values["enable_thinking"] = settings.enable_thinking
    template = _compiled(template_of(tokenizer), settings)
    try:
        text = bounded_template.render(template, values)
    except Exception as error:  # the template is a program of the model's
        if type(error) is not jinja2.TemplateError:
            raise InputError(f"the model's chat template fails ({cause(error)}); {_OTHER_MODE}") from None
        raise RefusedError(
            f"the model's chat template refuses the messages ({cause(error)}); leave out the system text"
        ) from None
    if any(message["role"] == "system" and message["content"] not in text for message in stripped):
        raise RefusedError("the model's chat template leaves the system text out; give it as part of the prompt")
    return text


def accepts_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Returns whether the chat template takes a system text.

    Raises:
      InputError: if there is no chat template, or it is damaged.
    """
    messages = [{"role": "user", "content": "Hello"}]
    render(tokenizer, messages)
    try:
        render(tokenizer, [{"role": "system", "content": _PROBE}, *messages])
    except RefusedError:
        return False
    return True


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the model's chat template; of several named ones that for chats.

    Raises:
      InputError: if there is none, or several without one named ``default``.
    """
    template: Any = tokenizer.chat_template
    if isinstance(template, dict) and template:
        if "default" not in template:
            names = ", ".join(map(str, sorted(template)))
            raise InputError(f"the model has chat templates named {names} but none named default; {_OTHER_MODE}")
        template = template["default"]
    if not template:
        raise InputError("the model has no chat template; use --data.text prompt_response (or an instruct model)")
    if not isinstance(template, str):
        raise InputError(f"the model's chat template is {template!r}, which is not text; {_OTHER_MODE}")
    return template.removeprefix("\ufeff")  # a byte order mark


@functools.lru_cache
def _compiled(template: str, settings: TemplateSettings) -> jinja2.Template:
    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    functions: dict[str, Any] = {"raise_exception": _raise, "strftime_now": _clock(settings)}
    environment.globals |= functions
    try:
        return environment.from_string(template)
    except Exception as error:  # whatever the parser and Python's compiler raise
        line = f"line {error.lineno}: " if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise InputError(f"the model's chat template does not parse ({line}{cause(error)}); {_OTHER_MODE}") from None


class _Generation(jinja2.ext.Extension):
    """Accepts ``{% generation %}``, which marks answers for training, and renders what it encloses."""

    tags = {"generation"}  # noqa: RUF012, jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Returns the enclosed statements."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Returns JSON without escaping for HTML, unlike jinja2's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _clock(settings: TemplateSettings) -> Callable[[str], str]:
    return lambda format: settings.now().strftime(format)
