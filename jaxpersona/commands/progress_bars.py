"""Progress bars on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxpersona.core.processes import is_first
from jaxpersona.core.stage import Report


@contextmanager
def progress_bars() -> Iterator[Report]:
    """Yields a callback that shows a bar for each stage; silent in all processes but the first."""
    if not is_first():
        yield lambda stage, done, total: None
        return
    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report
