"""Runs: the samples of one or several thermodynamic points, in memory or read from disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, StoredRunError
from .lattice import Lattice
from .sublattice import is_number, shown

if TYPE_CHECKING:
    import xarray as xr

    from .protocols import Hamiltonian

__all__ = [
    "COORDINATES",
    "OPTIONAL_VARIABLES",
    "UNWRITTEN",
    "VARIABLES",
    "Run",
    "coordinate_attributes",
    "point_arrays",
    "point_dataset",
]

UNWRITTEN = 255
"""Occupation of a draw that was not written; no species has this index."""

VARIABLES: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "occupation": (
        ("draw", "chain", "site"),
        "uint8",
        {"long_name": "index of the site's species in its sublattice", "units": "1"},
    ),
    "energy": (("draw", "chain"), "float64", {"long_name": "total energy per cell", "units": "eV"}),
    "acceptance": (
        ("draw", "chain"),
        "float64",
        {"long_name": "accepted fraction of the steps since the last draw", "units": "1"},
    ),
    "energy_calls": (
        ("draw", "chain"),
        "int64",
        {"long_name": "energies evaluated since the last draw", "units": "1"},
    ),
    "gradient_calls": (
        ("draw", "chain"),
        "int64",
        {"long_name": "energies with gradient evaluated since the last draw", "units": "1"},
    ),
}
"""Dims, dtype and attributes of the variables that every point stores."""

OPTIONAL_VARIABLES: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "positions": (
        ("draw", "chain", "atom", "xyz"),
        "float64",
        {"long_name": "positions of the atoms", "units": "Å"},
    ),
    "cell": (
        ("draw", "chain", "vector", "xyz"),
        "float64",
        {"long_name": "cell vectors", "units": "Å"},
    ),
    "walker": (
        ("draw", "chain"),
        "int64",
        {"long_name": "which of the exchanging replicas is here", "units": "1"},
    ),
    "bath_temperature": (
        ("draw", "chain"),
        "float64",
        {"long_name": "temperature of the bath", "units": "K"},
    ),
    "lambda_state": (
        ("draw", "chain", "group"),
        "int64",
        {"long_name": "discrete state of λ of the group", "units": "1"},
    ),
    "state_log_weight": (
        ("draw", "chain", "group", "lambda_state_index"),
        "float64",
        {"long_name": "log of the state's conditional probability, bias taken off", "units": "1"},
    ),
    "bias_energy": (
        ("draw", "chain"),
        "float64",
        {"long_name": "energy of the bias that the draw was made with", "units": "eV"},
    ),
}
"""Variables of points where more than occupations changes: positions, replicas, a bath, λ."""

COORDINATES: dict[str, dict[str, str]] = {
    "temperature": {"long_name": "temperature", "units": "K"},
    "pressure": {"long_name": "pressure", "units": "GPa"},
    "sweep": {"long_name": "index of the sweep", "units": "1"},
}
"""Scalar coordinates of a point and their attributes; see ``coordinate_attributes`` for more."""

_PREFIXES = {
    "mu": {"long_name": "chemical potential", "units": "eV"},
    "phi": {"long_name": "centre φ of the composition constraint", "units": "1"},
    "kappa": {"long_name": "stiffness κ of the composition constraint", "units": "1"},
}

_FILL = {
    name: UNWRITTEN if name == "occupation" else -1 if kind == "int64" else np.nan
    for name, (_, kind, _) in (VARIABLES | OPTIONAL_VARIABLES).items()
}


def coordinate_attributes(name: str) -> dict[str, str] | None:
    """Attributes of a scalar coordinate; None if no point has such a one.

    Besides ``COORDINATES``, there are ``mu_B_Ta`` and ``phi_B_Ta`` (sublattice and species) and
    ``kappa``.

    Examples
    --------
    >>> coordinate_attributes("mu_B_Ta")["units"]
    'eV'
    """
    if name in COORDINATES:
        return dict(COORDINATES[name])
    prefix, _, of = name.partition("_")
    if prefix not in _PREFIXES or not (of or prefix == "kappa"):
        return None
    attributes = dict(_PREFIXES[prefix])
    if of:
        attributes["long_name"] += f" of {of.replace('_', ' ')}"
    return attributes


def point_dataset(
    arrays: Mapping[str, np.ndarray], coordinates: Mapping[str, float] | None = None
) -> xr.Dataset:
    """Label the samples of one thermodynamic point.

    Parameters
    ----------
    arrays
        Variables by name, as ``sampler.draw_block`` returns them: ``occupation``
        [n_draws, n_chains, n_sites]; ``energy`` (eV), ``acceptance``, ``energy_calls``,
        ``gradient_calls`` [n_draws, n_chains]; and those of ``OPTIONAL_VARIABLES``.
    coordinates
        Scalars that name the point, such as ``temperature`` in K (``coordinate_attributes``).

    Raises
    ------
    InputError
        If a variable or coordinate is not known, shapes do not fit one another, or values do not
        fit the type they are stored in.

    Examples
    --------
    >>> point = point_dataset({"energy": np.zeros((3, 2))}, {"temperature": 900.0})
    >>> point.energy.dims, point.energy.units, float(point.temperature)
    (('draw', 'chain'), 'eV', 900.0)
    """
    import xarray as xr  # noqa: PLC0415  (slow to import)

    coordinates = coordinates or {}
    known = VARIABLES | OPTIONAL_VARIABLES
    for name in arrays:
        if name not in known:
            raise InputError(
                f"variable {name!r} of a run is not known: expected one of {', '.join(known)}"
            )
    scalars = {}
    for name, value in coordinates.items():
        attributes = coordinate_attributes(name)
        if attributes is None:
            raise InputError(
                f"scalar {name!r} of a run is not known: expected one of "
                f"{', '.join(COORDINATES)}, kappa, or mu_… and phi_… with sublattice and species"
            )
        scalars[name] = ((), _scalar(name, value), attributes)
    sizes: dict[str, int] = {}
    variables = {}
    for name, array in arrays.items():
        dims, dtype, attrs = known[name]
        values = _as_stored(name, array, dtype)
        shape = dict(zip(dims, values.shape, strict=False))
        if values.ndim != len(dims) or any(sizes.get(d, n) != n for d, n in shape.items()):
            raise InputError(
                f"{name} has shape {values.shape}: expected [{', '.join(dims)}], "
                f"with {sizes or 'any sizes'}"
            )
        sizes |= shape
        variables[name] = (dims, values, attrs)
    indices = {dim: np.arange(size) for dim, size in sizes.items()}
    return xr.Dataset(variables, coords={**indices, **scalars})


def _scalar(name: str, value: object) -> float:
    if not is_number(value):
        raise InputError(f"{name} is {shown(value)}: give a finite number")
    return float(value)  # type: ignore[arg-type]


def _as_stored(name: str, array: object, dtype: str) -> np.ndarray:
    """Values in the type they are stored in, if that holds every one of them."""
    try:
        values = np.asarray(array)
    except ValueError:
        raise InputError(f"{name} is ragged: give an array") from None
    target = np.dtype(dtype)
    if values.dtype.kind not in ("iu" if target.kind in "iu" else "iuf"):
        raise InputError(f"{name} holds {values.dtype} values: they are stored as {dtype}")
    if target.kind in "iu" and values.size:
        info = np.iinfo(target)
        for value in (values.min(), values.max()):
            if not info.min <= value <= info.max:
                raise InputError(f"{name} holds {value}: expected {info.min} to {info.max}")
    return values.astype(target, copy=False)


def point_arrays(point: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Arrays and scalar coordinates of a point: the inverse of ``point_dataset``.

    Examples
    --------
    >>> arrays, coordinates = point_arrays(
    ...     point_dataset({"energy": np.ones((2, 1))}, {"temperature": 900.0}))
    >>> arrays["energy"].tolist(), coordinates
    ([[1.0], [1.0]], {'temperature': 900.0})
    """
    known = VARIABLES | OPTIONAL_VARIABLES
    arrays = {name: point[name].values for name in known if name in point.variables}
    scalars = {
        str(name): float(values)
        for name, values in point.coords.items()
        if not values.ndim and coordinate_attributes(str(name)) is not None
    }
    return arrays, scalars


@dataclass(frozen=True)
class Run:
    """Samples with the lattice and the settings they belong to.

    Parameters
    ----------
    points
        One Dataset per thermodynamic point, dims (draw, chain, site): ``occupation`` uint8,
        ``energy`` (eV), ``acceptance``, ``energy_calls``, ``gradient_calls``; scalar coordinate
        ``temperature`` (K). In the order in which they were sampled.
    lattice
        Sites and species that the occupations refer to.
    config
        Settings that produced the run.
    attrs
        What else is known of it (warm-up report, versions, caveats).
    build_hamiltonian
        Called without arguments by ``hamiltonian()``.

    Raises
    ------
    InputError
        If there is no point, or a point's sites are not the lattice's.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> occupation = np.zeros((5, 2, 8), dtype=np.uint8)
    >>> hot, cold = (point_dataset({"occupation": occupation, "energy": np.zeros((5, 2))},
    ...                            {"temperature": t}) for t in (3000.0, 1000.0))
    >>> Run((hot, cold), lattice).samples.temperature.values.tolist()
    [3000.0, 1000.0]
    """

    points: tuple[xr.Dataset, ...]
    lattice: Lattice
    config: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    build_hamiltonian: Callable[[], Hamiltonian] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.points, Mapping):  # a Dataset is one, too
            raise InputError(f"points is one {type(self.points).__name__}: give a tuple of them")
        object.__setattr__(self, "points", tuple(self.points))
        if not self.points:
            raise InputError("a run of no points holds no samples: give at least one Dataset")
        for index, point in enumerate(self.points):
            if not hasattr(point, "sizes"):
                raise InputError(f"point {index} is a {type(point).__name__}: give Datasets")
            n_sites = point.sizes.get("site", self.lattice.n_sites)
            if n_sites != self.lattice.n_sites:
                raise InputError(
                    f"point {index} has {n_sites} sites, its lattice {self.lattice.n_sites}: "
                    "give the lattice that the samples were drawn on"
                )

    @property
    def samples(self) -> xr.Dataset:
        """The only point, or all points joined along a new dim ``point``.

        Points of different length are padded: ``occupation`` by 255, the other integers by −1,
        floats by NaN.
        """
        if len(self.points) == 1:
            return self.points[0]
        import xarray as xr  # noqa: PLC0415  (slow to import)

        return xr.concat(self.points, dim="point", join="outer", fill_value=_FILL)

    def hamiltonian(self) -> Hamiltonian:
        """Return the energy model that the run was sampled with.

        Raises
        ------
        StoredRunError
            If the run does not know its model.
        """
        if self.build_hamiltonian is None:
            raise StoredRunError(
                "this run does not know its energy model: build it and pass it where it is needed"
            )
        return self.build_hamiltonian()
