"""Entry point of ``python -m jaxpersona.benchmark``."""

import sys

from jaxpersona.commands import benchmark

if __name__ == "__main__":
    benchmark.main(sys.argv[1:])
