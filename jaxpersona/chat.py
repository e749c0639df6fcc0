"""Entry point of ``python -m jaxpersona.chat``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("chat")
