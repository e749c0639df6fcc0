"""Methods by name: how each scores weights, and which it keeps."""

from jaxpersona.methods.methods import METHODS as METHODS
from jaxpersona.methods.methods import AnyMethod as AnyMethod
from jaxpersona.methods.methods import ContrastiveSparse as ContrastiveSparse
from jaxpersona.methods.methods import ContrastiveWanda as ContrastiveWanda
from jaxpersona.methods.methods import FirstOrder as FirstOrder
from jaxpersona.methods.methods import Magnitude as Magnitude
from jaxpersona.methods.methods import Method as Method
from jaxpersona.methods.methods import Random as Random
from jaxpersona.methods.methods import Sparse as Sparse
from jaxpersona.methods.methods import SparseGPT as SparseGPT
from jaxpersona.methods.methods import Steering as Steering
from jaxpersona.methods.methods import Wanda as Wanda
from jaxpersona.methods.methods import by_name as by_name
