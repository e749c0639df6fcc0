"""Forms of parameters and matrix products that are fast on a CPU."""
