"""Command: writes the page of a run.

python -m jaxpersona.report --run runs/quickstart
"""

import pathlib

from jaxpersona.commands.report_config import ReportConfig
from jaxpersona.commands.run_record import read_search
from jaxpersona.core.files import write_atomically
from jaxpersona.reporting.charts.save import PNG_MISSING, save_charts
from jaxpersona.reporting.page.render import charts, render
from jaxpersona.reporting.page.run_files import read_files


def main(config: ReportConfig) -> None:
    """Writes ``report.html`` and, unless ``config.figures`` is False, ``figures/`` into the run's folder.

    Raises:
      InputError: if there is no run, or a file of it is damaged.
    """
    files, folder = read_files(config.run, read_search(config.run)), pathlib.Path(config.run).expanduser()
    write_atomically(folder / "report.html", render(files))
    written = ["report.html"]
    if config.figures:
        names, with_png = save_charts(charts(files), folder / "figures")
        written += [f"figures/{name}" for name in names]
        if names and not with_png:
            print(PNG_MISSING)
    print(f"Written: {config.run} ({', '.join(written)})")
