"""Pictures of stored samples: one configuration as a figure, a chain as an animation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..analysis.layout import coordinates_of, layout
from ..errors import InputError
from ..records import Run

if TYPE_CHECKING:
    import xarray as xr

    from ..analysis.plots.animation import Frame

__all__ = ["PICTURES", "write_animation", "write_picture"]

PICTURES = {"gif": (".gif",), "pdf": (".pdf",), "svg": (".svg",), "png": (".png",)}
USUAL_FRAMES = 200
MOST_FRAMES = 2000
SECONDS_PER_FRAME = 0.1
REPRODUCIBLE: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "alchemc"}
"""Text stays text in vector graphics, and the same figure gives the same file."""


def write_picture(
    run: Run, points: Sequence[xr.Dataset], path: Path, kind: str, draw: int | None = None
) -> int:
    """Draw one configuration of one chain at one point: the last draw unless ``draw`` is given."""
    from ..analysis.plots.structure import plot_structure  # noqa: PLC0415

    point = _one_chain(points)[0]
    if len(points) > 1:
        raise InputError("a picture shows one configuration: give --point")
    n_draws = point.sizes["draw"]
    if draw is not None and not 0 <= draw < n_draws:
        raise InputError(f"no draw {draw}; the point has draws 0 to {n_draws - 1}")
    chosen = point.isel(draw=n_draws - 1 if draw is None else draw, chain=0)
    figure = plot_structure(run.lattice, chosen["occupation"].to_numpy(), **_geometry(chosen))
    save_figure(figure, path, kind)
    return 1


def save_figure(figure: Any, path: Path | IO[bytes], kind: str) -> None:
    """Save a figure so that the same one gives the same file."""
    import matplotlib as mpl  # noqa: PLC0415

    stamps = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with mpl.rc_context(REPRODUCIBLE):
        figure.savefig(path, format=kind, dpi=300, metadata=stamps[kind])


def write_animation(
    run: Run, points: Sequence[xr.Dataset], path: Path, every: int | None = None
) -> int:
    """Animate one chain through its points in the order of the visits, as a GIF.

    Every n-th draw, by default as many as make 200 frames at most; the number of frames is
    returned.
    """
    from PIL import Image  # noqa: PLC0415

    from ..analysis.plots.animation import ordering_frames  # noqa: PLC0415

    kept = _one_chain(points)
    total = sum(point.sizes["draw"] for point in kept)
    stride = every or -(-total // USUAL_FRAMES)
    chosen = [point.isel(draw=slice(None, None, stride), chain=0) for point in kept]
    count = sum(point.sizes["draw"] for point in chosen)
    if count > MOST_FRAMES:
        raise InputError(
            f"{count:,} frames are more than an animation of {MOST_FRAMES:,} holds: give "
            f"--every {-(-total // MOST_FRAMES)} or more"
        )
    energies = [
        float(e) for point in chosen for e in point["energy"].to_numpy() / run.lattice.n_sites
    ]
    pictures = map(
        Image.fromarray,
        ordering_frames(run.lattice, _frames(chosen), energies, "Energy (eV per site)"),
    )
    first = next(pictures).quantize(128, dither=Image.Dither.NONE)
    # One palette for all: what does not change from frame to frame takes no room in the file.
    others = (p.quantize(palette=first, dither=Image.Dither.NONE) for p in pictures)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 * SECONDS_PER_FRAME),
        loop=0,
    )
    return count


def _one_chain(points: Sequence[xr.Dataset]) -> Sequence[xr.Dataset]:
    if any(point.sizes["chain"] > 1 for point in points):
        raise InputError("pictures show one chain: give --chain")
    return points


def _frames(points: Sequence[xr.Dataset]) -> Iterator[Frame]:
    """Draws of every point; each point is read at once, and not before its turn."""
    from ..analysis.plots.animation import Frame  # noqa: PLC0415

    names = layout(coordinates_of(points)).written
    for name, point in zip(names, points, strict=True):
        occupations, geometry = point["occupation"].to_numpy(), _geometry(point)
        for k, draw in enumerate(point["draw"].to_numpy()):
            moved = {key: values[k] for key, values in geometry.items()}
            yield Frame(occupations[k], f"{name}, draw {int(draw) + 1:,}", **moved)


def _geometry(chosen: xr.Dataset) -> dict[str, Any]:
    """Return sampled positions and cells, where there are any."""
    return {name: chosen[name].to_numpy() for name in ("positions", "cell") if name in chosen}
