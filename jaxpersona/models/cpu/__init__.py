"""Forms of parameters and products that a CPU computes quickly."""
