"""Entry point of ``python -m jaxpersona.discover``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("discover")
