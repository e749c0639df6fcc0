"""Entry point of ``python -m jaxpersona.evaluate``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("evaluate")
