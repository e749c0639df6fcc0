"""Chat templates render as in Transformers, on a pinned day, and what they raise becomes one line."""

import datetime
import re

import pytest
from conftest import TEMPLATE, byte_tokenizer

from jaxpersona import InputError
from jaxpersona.core.template_settings import TemplateSettings, attach
from jaxpersona.data.chat_template import RefusedError, accepts_system, render, template_of

USER, SYSTEM, ANSWER = ({"role": role, "content": f" {role}! "} for role in ("user", "system", "assistant"))
CHATS = ([USER], [USER, ANSWER], [SYSTEM, USER], [SYSTEM, USER, ANSWER, USER])
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
DATED = "{{ strftime_now('%d %b %Y') }}" + TEMPLATE
THOUGHTFUL = TEMPLATE + "{% if add_generation_prompt and enable_thinking is false %}<think></think>{% endif %}"
OTHERS = [
    "{%- for m in messages -%}\n  [{{ m | tojson }}]\n{%- endfor %}",
    "{% for m in messages %}\n  {%- if loop.last %}{% break %}{% endif %}\n  {{ bos_token + m.content }}\n{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m['content'] }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}{% endfor %}",
    "{% if tools %}tools{% endif %}{{ documents is none }}{{ dict(a=1).a }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% for i in [[1, [2, 3]], 4] recursive %}{{ loop.length }}{{ loop(i) if i is iterable else i }}{% endfor %}" + TEMPLATE,
    "{% for m in messages if m.role == 'user' %}{{ loop.revindex }}{{ loop.last }}{% else %}none{% endfor %}" + TEMPLATE,
    "{% set x | upper %}{{ 'a' ~ 1 ~ bos_token }}{% endset %}{{ x }}{% filter lower %}{{ x }}{{ 2 ** 3 * 'b' }}{% endfilter %}"
    + TEMPLATE,
    "{% macro say(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
]


def with_template(template, settings=None):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    attach(tokenizer, settings or TemplateSettings())
    return tokenizer


def by_transformers(tokenizer, messages, **values):
    stripped = [{**message, "content": message["content"].strip()} for message in messages]
    awaits = messages[-1]["role"] == "user"
    return tokenizer.apply_chat_template(stripped, tokenize=False, add_generation_prompt=awaits, **values)


@pytest.mark.parametrize("template", [TEMPLATE, THOUGHTFUL, *OTHERS], ids=range(2 + len(OTHERS)))
@pytest.mark.parametrize("thinking", [False, True])
def test_texts_are_those_of_transformers(template, thinking):
    tokenizer = with_template(template, TemplateSettings(enable_thinking=thinking))
    for messages in CHATS:
        if "break" in template and len(messages) == 2 and messages[0] is SYSTEM:
            continue
        assert render(tokenizer, messages) == by_transformers(tokenizer, messages, enable_thinking=thinking)


def test_the_date_is_pinned():
    assert render(with_template(DATED), [USER]).startswith("26 Jul 2024<s>")
    assert render(with_template(DATED, TemplateSettings("1999-12-31")), [USER]).startswith("31 Dec 1999<s>")
    assert by_transformers(with_template(DATED), [USER]).startswith(datetime.date.today().strftime("%d %b %Y"))


def test_thoughts_are_put_where_the_setting_says_so():
    assert "<think></think>" in render(with_template(THOUGHTFUL), [USER])
    assert "<think>" not in render(with_template(THOUGHTFUL, TemplateSettings(enable_thinking=True)), [USER])


def test_qwen3_begins_answers_with_an_empty_thought_as_its_prompts_do_by_default():
    thought = "<think>\\n\\n</think>\\n\\n"
    template = (
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' and loop.last %}"
        "{{- '" + thought + "' }}{%- endif %}{{- m.content + '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '" + thought + "' }}{%- endif %}{%- endif %}"
    )
    prompt, whole = (render(with_template(template), messages) for messages in ([USER], [USER, ANSWER]))
    assert whole == f"{prompt}assistant!<|im_end|>\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if %}", r"does not parse \(line 1: Expected an expression"),
        ("\n{% for m in messages %}", r"does not parse \(line 2: Unexpected end"),
        ("{{ 1 | odd_one }}", r"does not parse \(line 1: No filter named 'odd_one'"),
        ("{{ 'a' + 1 }}", r"fails \(TypeError can only concatenate"),
        ("{{ 1 / 0 }}", r"fails \(division by zero\)"),
        ("{{ missing.key }}", r"fails \('missing' is undefined\)"),
        ("{{ messages[7].content }}", r"fails \(.* has no element 7\)"),
        ("{% include 'x' %}", r"fails \(TypeError no loader"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", r"fails \(maximum recursion depth"),
        ("{{ messages.__class__.__mro__ }}", r"fails \(.*unsafe"),
        (5, r"is 5, which is not text"),
        ({"default": 5}, r"is 5, which is not text"),
        ({"tool_use": "x", "rag": "y"}, r"templates named rag, tool_use but none named default"),
    ],
)
def test_a_damaged_template_is_told_in_one_line(template, message):
    with pytest.raises(
        InputError, match=rf"^the model.*{message}.*; use --data.text prompt_response, or another model$"
    ) as error:
        render(with_template(template), [USER])
    assert not isinstance(error.value, RefusedError)
    with pytest.raises(InputError, match=message):
        accepts_system(with_template(template))


@pytest.mark.parametrize("template", [None, "", {}, {"default": ""}, {"default": None}])
def test_a_missing_template_is_told(template):
    with pytest.raises(InputError, match=re.escape("the model has no chat template; use --data.text prompt_response")):
        template_of(with_template(template))


def test_the_template_named_default_is_that_for_chats():
    assert template_of(with_template({"tool_use": "x", "default": "y"})) == "y"


@pytest.mark.parametrize(
    ("template", "accepted"),
    [
        (TEMPLATE, True),
        (NO_SYSTEM + TEMPLATE, False),
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}", False),
        ("{{ messages[-1].content }}", False),
    ],
)
def test_a_template_accepts_a_system_text_or_not(template, accepted):
    tokenizer = with_template(template)
    assert accepts_system(tokenizer) == accepted
    if not accepted:
        with pytest.raises(RefusedError, match=r"refuses the messages \(No system role\)|leaves the system text out"):
            render(tokenizer, [SYSTEM, USER])


def test_a_byte_order_mark_is_no_text():
    assert render(with_template("\ufeff" + TEMPLATE), [USER]) == render(with_template(TEMPLATE), [USER])
