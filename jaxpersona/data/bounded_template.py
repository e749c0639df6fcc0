"""Bounds what a chat template may do: all that a rendering makes is taken from one budget, in a sandbox.

Loops pay by the step; calls, operators, filters and blocks by the length of what they make. So neither nested loops nor a text
that doubles itself goes on for long. One operation pays when it is done: a format of great width can still take memory.
"""

import contextvars
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

BUDGET = 200_000_000  # characters: a text of a million, built up from 400 messages, takes all of it
STEP = 400  # what a step of a loop, or a call, costs: half a million of them take all of it
_left = contextvars.ContextVar("_left", default=0)


def render(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """Returns what a template of a ``BoundedEnvironment`` renders; raises ``TemplateRuntimeError`` if the budget is used up."""
    token = _left.set(BUDGET)
    try:
        return "".join(map(_paid, template.generate(values)))
    finally:
        _left.reset(token)


def _spend(amount: int) -> None:
    left = _left.get() - amount
    if left < 0:
        raise jinja2.TemplateRuntimeError("it runs too long, or makes too long a text")
    _left.set(left)


def _paid(value: Any) -> Any:
    """Returns ``value`` after paying for its length: characters, items, or the bits of an integer."""
    if isinstance(value, str | list | tuple | dict | range):
        _spend(len(value))
    elif isinstance(value, int):
        _spend(value.bit_length())
    return value


def _steps(values: Iterable[Any]) -> Iterator[Any]:
    """Yields the values, each paid for as a step."""
    for value in values:
        _spend(STEP)
        yield value


class _Paying(NodeTransformer):
    """Puts ``_steps`` around what loops go over, and ``_paid`` around filters, concatenations and captured blocks."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter("_steps", node.iter, node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        return _filter("_paid", self.generic_visit(node), node)

    visit_Filter = visit_Concat

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = node.filter or _filter("_paid", None, node)
        return node


def _filter(name: str, of: nodes.Node | None, near: nodes.Node) -> nodes.Filter:
    return nodes.Filter(of, name, [], [], None, None, lineno=near.lineno, environment=near.environment)


class _PayingCode(CodeGenerator):
    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        super().visit_Template(_Paying().visit(node), frame)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates spend from the budget of ``render``."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _PayingCode

    def __init__(self, **options: Any):
        super().__init__(**options)
        # With a context they are not evaluated as constants while the template is compiled.
        self.filters["_paid"] = jinja2.pass_context(lambda context, value: _paid(value))
        self.filters["_steps"] = jinja2.pass_context(lambda context, values: _steps(values))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls a function, macro, method, or a recursive loop, whose steps are paid for."""
        _spend(STEP)
        if isinstance(__obj, LoopContext):
            args = tuple(map(_steps, args))
        return _paid(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Applies an operator; those whose result may be far longer than both sides are paid for first."""
        for one, times in ((left, right), (right, left)):
            if operator == "*" and isinstance(one, str | list | tuple) and isinstance(times, int):
                _spend(len(one) * max(times, 0))
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _spend(left.bit_length() * max(right, 0))
        return _paid(super().call_binop(context, operator, left, right))
