"""Renders the HTML page of a run: one file without scripts or external resources."""

from typing import Any

import jinja2


def render(record: dict[str, Any]) -> str:
    """Returns the page of a run.

    Args:
      record: contents of ``run.json``.

    Raises:
      jinja2.UndefinedError: if the record lacks a value.
    """
    loader = jinja2.PackageLoader("jaxpersona", "reporting")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(record)
