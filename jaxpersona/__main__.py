"""Entry point of ``python -m jaxpersona``, which lists the commands."""

import sys

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.list_commands(sys.argv[1:])
