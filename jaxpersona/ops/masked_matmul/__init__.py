"""Masked matrix products for batches of several personas: one copy of the weights, one bit per persona and weight."""

from jaxpersona.ops.masked_matmul.api import IMPLEMENTATIONS as IMPLEMENTATIONS
from jaxpersona.ops.masked_matmul.api import masked_matmul as masked_matmul
