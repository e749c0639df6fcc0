"""Templates that would not end, or take all memory, are stopped with one line; those of models never are."""

import pytest
from conftest import byte_tokenizer

from jaxpersona import InputError
from jaxpersona.data import bounded_template
from jaxpersona.data.chat_template import render

TWICE = "{{% set ns = namespace(s='ab') %}}{{% for i in range(40) %}}{} {{% endfor %}}"
ENDLESS = [
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) if false %}{% endfor %}{% endfor %}",
    "{% for i in [[[1] * 99] * 99] * 99 recursive %}{% if i is iterable %}{{ loop(i) }}{% endif %}{% endfor %}",
    "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(40) }}",
    "{% for i in range(9999) %}{{ messages[0].content * 999 }}{% endfor %}",
    "{{ 'ab' * 10 ** 10 }}",
    "{{ [9] * 10 ** 10 }}",
    "{{ 9 ** (9 ** 9) }}",
    TWICE.format("{% set ns.s = ns.s + ns.s %}"),
    TWICE.format("{% set ns.s = ns.s ~ ns.s %}"),
    TWICE.format("{% set ns.s = '%s%s' % (ns.s, ns.s) %}"),
    TWICE.format("{% set ns.s = [ns.s, ns.s] | join %}"),
    TWICE.format("{% set ns.s = ns.s.replace('a', 'aa') %}"),
    TWICE.format("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
    TWICE.format("{% set x | trim %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
    TWICE.format("{% filter replace('a', ns.s) %}{{ ns.s }}{% set ns.s = ns.s ~ ns.s %}{% endfilter %}"),
]


def rendered(template, content="ab", messages=1):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return render(tokenizer, [{"role": "user", "content": content}] * messages)


@pytest.mark.parametrize("template", ENDLESS)
def test_a_template_that_would_not_end_or_takes_all_memory_is_stopped(template, monkeypatch):
    monkeypatch.setattr(bounded_template, "BUDGET", 300_000)
    with pytest.raises(InputError, match=r"fails \(it runs too long, or makes too long a text\); use --data.text"):
        rendered(template)


def test_a_long_chat_is_within_the_budget():
    """Builds the text up from 200 messages of 2,000 characters, the dearest way that models' templates have."""
    template = "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + m.content %}{% endfor %}{{ ns.s }}"
    assert len(rendered(template, "x" * 2000, 200)) == 400_000
