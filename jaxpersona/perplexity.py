"""Entry point of ``python -m jaxpersona.perplexity``."""

from jaxpersona.commands import cli

if __name__ == "__main__":
    cli.main("perplexity")
