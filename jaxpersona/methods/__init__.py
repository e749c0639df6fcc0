"""Methods: each collects statistics, scores weights and selects the ones it keeps, in a file of its own."""

from jaxpersona.methods.contrastive_sparse import ContrastiveSparse as ContrastiveSparse
from jaxpersona.methods.contrastive_wanda import ContrastiveWanda as ContrastiveWanda
from jaxpersona.methods.magnitude import Magnitude as Magnitude
from jaxpersona.methods.method import Method as Method
from jaxpersona.methods.random import Random as Random
from jaxpersona.methods.registry import METHODS as METHODS
from jaxpersona.methods.registry import by_name as by_name
from jaxpersona.methods.sparse import Sparse as Sparse
from jaxpersona.methods.sparsegpt import SparseGPT as SparseGPT
from jaxpersona.methods.steering import Steering as Steering
from jaxpersona.methods.taylor import Taylor as FirstOrder
from jaxpersona.methods.taylor import Taylor as Taylor
from jaxpersona.methods.wanda import Wanda as Wanda

__all__ = ["FirstOrder"]  # the former name of Taylor
