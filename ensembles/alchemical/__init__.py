"""Composition as a dynamical variable: λ of sites and groups, and free energies along it."""

from .alchemical_path import AlchemicalPath
from .biases import Biases
from .einstein import EinsteinCrystal, HarmonicCrystal, spring_constants
from .frenkel_ladd import FrenkelLaddPath, reference_path, thermal_positions
from .ghost import VacancyPath
from .gibbs_lambda import GibbsLambda
from .groups import Groups
from .integrators import LambdaIntegrator
from .lambda_dynamics import LambdaDynamics
from .landscapes import biases_from_slopes, flatten_biases, next_biases, unevenness
from .maps import CompactMap, SoftmaxMap
from .mixed import MixedModel
from .paths import MixturePath
from .placement import place_windows
from .profile import lambda_profile
from .schedules import GeometricSchedule, LinearSchedule, OptimisedSchedule, SmoothStepSchedule
from .switching import Switching
from .trajectory import LambdaTrajectory
from .vertex_weights import vertex_log_weights
from .windows import WindowSampling

__all__ = [
    "AlchemicalPath",
    "Biases",
    "CompactMap",
    "EinsteinCrystal",
    "FrenkelLaddPath",
    "GeometricSchedule",
    "GibbsLambda",
    "Groups",
    "HarmonicCrystal",
    "LambdaDynamics",
    "LambdaIntegrator",
    "LambdaTrajectory",
    "LinearSchedule",
    "MixedModel",
    "MixturePath",
    "OptimisedSchedule",
    "SmoothStepSchedule",
    "SoftmaxMap",
    "Switching",
    "VacancyPath",
    "WindowSampling",
    "biases_from_slopes",
    "flatten_biases",
    "lambda_profile",
    "next_biases",
    "place_windows",
    "reference_path",
    "spring_constants",
    "thermal_positions",
    "unevenness",
    "vertex_log_weights",
]
