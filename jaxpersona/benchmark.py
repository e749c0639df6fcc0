"""Entry point of ``python -m jaxpersona.benchmark``."""

from jaxpersona.benchmarks import command

if __name__ == "__main__":
    command.main()
