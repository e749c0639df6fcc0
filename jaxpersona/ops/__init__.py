"""Array operations on masks: bit packing, exact top-k, masked matrix products."""
