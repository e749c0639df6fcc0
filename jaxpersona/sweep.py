"""Entry point of ``python -m jaxpersona.sweep``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("sweep")
