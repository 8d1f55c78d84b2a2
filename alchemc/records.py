"""Runs: the samples of one or several thermodynamic points, in memory or read from disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, StoredRunError
from .lattice import Lattice

if TYPE_CHECKING:
    import xarray as xr

    from .protocols import Hamiltonian

__all__ = ["COORDINATES", "UNWRITTEN", "VARIABLES", "Run", "point_arrays", "point_dataset"]

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
"""Dims, dtype and attributes of every stored variable."""

COORDINATES: dict[str, dict[str, str]] = {
    "temperature": {"long_name": "temperature", "units": "K"},
}
"""Scalar coordinates of a point and their attributes."""

_FILL = {
    "occupation": UNWRITTEN,
    "energy": np.nan,
    "acceptance": np.nan,
    "energy_calls": -1,
    "gradient_calls": -1,
}


def point_dataset(
    arrays: Mapping[str, np.ndarray], coordinates: Mapping[str, float] | None = None
) -> xr.Dataset:
    """Label the samples of one thermodynamic point.

    Parameters
    ----------
    arrays
        Variables by name, as ``sampler.draw_block`` returns them: ``occupation``
        [n_draws, n_chains, n_sites]; ``energy`` (eV), ``acceptance``, ``energy_calls``,
        ``gradient_calls`` [n_draws, n_chains].
    coordinates
        Scalars that name the point, such as ``temperature`` in K.

    Raises
    ------
    InputError
        If a variable or coordinate is not known, or shapes do not fit one another.

    Examples
    --------
    >>> point = point_dataset({"energy": np.zeros((3, 2))}, {"temperature": 900.0})
    >>> point.energy.dims, point.energy.units, float(point.temperature)
    (('draw', 'chain'), 'eV', 900.0)
    """
    import xarray as xr  # noqa: PLC0415  (slow to import)

    coordinates = coordinates or {}
    for name in (*arrays, *coordinates):
        if name not in VARIABLES and name not in COORDINATES:
            known = ", ".join((*VARIABLES, *COORDINATES))
            raise InputError(f"variable {name!r} of a run is not known: expected one of {known}")
    sizes: dict[str, int] = {}
    variables = {}
    for name, array in arrays.items():
        dims, dtype, attrs = VARIABLES[name]
        values = np.asarray(array)
        shape = dict(zip(dims, values.shape, strict=False))
        if values.ndim != len(dims) or any(sizes.get(d, n) != n for d, n in shape.items()):
            raise InputError(
                f"{name} has shape {values.shape}: expected [{', '.join(dims)}], "
                f"with {sizes or 'any sizes'}"
            )
        sizes |= shape
        variables[name] = (dims, values.astype(dtype, copy=False), attrs)
    indices = {dim: np.arange(size) for dim, size in sizes.items()}
    scalars = {name: ((), float(value), COORDINATES[name]) for name, value in coordinates.items()}
    return xr.Dataset(variables, coords={**indices, **scalars})


def point_arrays(point: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Arrays and scalar coordinates of a point: the inverse of ``point_dataset``.

    Examples
    --------
    >>> arrays, coordinates = point_arrays(
    ...     point_dataset({"energy": np.ones((2, 1))}, {"temperature": 900.0}))
    >>> arrays["energy"].tolist(), coordinates
    ([[1.0], [1.0]], {'temperature': 900.0})
    """
    arrays = {name: point[name].values for name in VARIABLES if name in point.variables}
    scalars = {name: float(point[name]) for name in COORDINATES if name in point.coords}
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
        object.__setattr__(self, "points", tuple(self.points))
        if not self.points:
            raise InputError("a run of no points holds no samples: give at least one Dataset")
        for index, point in enumerate(self.points):
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
