"""Entry point of ``python -m jaxpersona.export``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("export")
