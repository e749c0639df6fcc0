"""The HTML page of a run: one file, no scripts, nothing fetched."""

from typing import Any

import jinja2


def render(record: dict[str, Any]) -> str:
    """The page for a run's record."""
    loader = jinja2.PackageLoader("jaxpersona", "reporting")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(record)
