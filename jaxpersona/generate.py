"""Entry point of ``python -m jaxpersona.generate``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("generate")
