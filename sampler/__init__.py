"""How it is sampled: kernels, warm-up and chains."""

from ..streams import generator_state, restore_generator, spawn_generators
from .chains import WarmUpReport, draw_block, rederive, sample, warm_up
from .comparison import Comparison, compare
from .discrete_langevin import DiscreteLangevin
from .gibbs import GibbsWithGradients
from .mixture import Mixture
from .path_auxiliary import PathAuxiliary
from .random_flip import RandomFlip
from .random_swap import RandomSwap
from .surrogate_chain import SurrogateChain
from .table_exchange import TableExchange

__all__ = [
    "KERNELS",
    "Comparison",
    "DiscreteLangevin",
    "GibbsWithGradients",
    "Mixture",
    "PathAuxiliary",
    "RandomFlip",
    "RandomSwap",
    "SurrogateChain",
    "TableExchange",
    "WarmUpReport",
    "compare",
    "draw_block",
    "generator_state",
    "rederive",
    "restore_generator",
    "sample",
    "spawn_generators",
    "warm_up",
]

KERNELS = {
    "random-swap": RandomSwap,
    "random-flip": RandomFlip,
    "gibbs-with-gradients": GibbsWithGradients,
    "mixture": Mixture,
    "path-auxiliary": PathAuxiliary,
    "surrogate": SurrogateChain,
    "discrete-langevin": DiscreteLangevin,
    "table-exchange": TableExchange,
}
"""Kernels by the name that ``[sampler] kind`` gives them."""
