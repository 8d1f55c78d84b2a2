"""What is sampled: target densities over occupations."""

from .alchemical import (
    AlchemicalPath,
    Biases,
    CompactMap,
    EinsteinCrystal,
    FrenkelLaddPath,
    GeometricSchedule,
    GibbsLambda,
    Groups,
    HarmonicCrystal,
    LambdaDynamics,
    LambdaIntegrator,
    LambdaTrajectory,
    MixturePath,
    OptimisedSchedule,
    SoftmaxMap,
    Switching,
    VacancyPath,
    WindowSampling,
    lambda_profile,
    place_windows,
    reference_path,
    thermal_positions,
    vertex_log_weights,
)
from .annealing import Annealing, Lowest, lowest
from .canonical import Canonical
from .charge_neutral import ChargeNeutral
from .dynamics import HMC, NPT, Langevin
from .hybrid import HybridMD
from .semi_grand import SemiGrandCanonical
from .tempering import Tempering
from .time_step import TimeStepBias, time_step_bias
from .variance_constrained import VarianceConstrained
from .wang_landau import WangLandau
from .with_positions import WithPositions

__all__ = [
    "HMC",
    "NPT",
    "AlchemicalPath",
    "Annealing",
    "Biases",
    "Canonical",
    "ChargeNeutral",
    "CompactMap",
    "EinsteinCrystal",
    "FrenkelLaddPath",
    "GeometricSchedule",
    "GibbsLambda",
    "Groups",
    "HarmonicCrystal",
    "HybridMD",
    "LambdaDynamics",
    "LambdaIntegrator",
    "LambdaTrajectory",
    "Langevin",
    "Lowest",
    "MixturePath",
    "OptimisedSchedule",
    "SemiGrandCanonical",
    "SoftmaxMap",
    "Switching",
    "Tempering",
    "TimeStepBias",
    "VacancyPath",
    "VarianceConstrained",
    "WangLandau",
    "WindowSampling",
    "WithPositions",
    "lambda_profile",
    "lowest",
    "place_windows",
    "reference_path",
    "thermal_positions",
    "time_step_bias",
    "vertex_log_weights",
]
