"""Masked matrix products for batches of several personas: one copy of the weights, one bit a persona and weight."""

from jaxpersona.kernels.dispatch import IMPLEMENTATIONS as IMPLEMENTATIONS
from jaxpersona.kernels.dispatch import masked_matmul as masked_matmul
