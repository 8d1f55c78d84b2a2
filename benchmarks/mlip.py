"""Cost of the MLIP engine beside stock MACE and the published alchemical evaluation.

``python benchmarks/mlip.py [--quick]`` writes ``benchmarks/results/mlip.json``: time and memory of
``energy``, ``energy_and_gradient`` and one swap's ``energy_change`` for the bundled model and for a
model of MACE-MP-0-small's shape (128 channels, ℓ ≤ 3, r_max 6 Å, 89 elements, random weights); how
they grow to 20,480 and to 102,060 atoms; threads; replicas. One thread, and every comparison in
one process, the methods in turn, so that ratios hold on a noisy machine. Memory is the peak of a
process that runs one method alone.
"""

import argparse
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import resources
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "mlip.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
METHODS = ("energy", "energy_and_gradient", "energy_change", "stock", "published")


# ---- models and systems ---------------------------------------------------------------------


def model_of(shape, dtype):
    """Bundled model or random weights in the shape of MACE-MP-0 small, as a module."""
    from alchemc.potentials._mace import default_dtype, import_mace

    if shape == "bundled":
        from alchemc.potentials.storage import load_stored

        with resources.as_file(resources.files("alchemc.potentials") / "models/bundled") as path:
            return load_stored(path)[0]
    modules = import_mace()
    import torch
    from e3nn import o3

    residual = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    with default_dtype(dtype), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = modules.ScaleShiftMACE(
            r_max=6.0, num_bessel=10, num_polynomial_cutoff=5, max_ell=3,
            interaction_cls=residual, interaction_cls_first=residual, num_interactions=2,
            num_elements=89, hidden_irreps=o3.Irreps("128x0e"), MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.linspace(-9.0, -1.0, 89), avg_num_neighbors=35.9,
            atomic_numbers=list(range(1, 90)), correlation=3, gate=torch.nn.functional.silu,
            radial_MLP=[64, 64, 64], atomic_inter_scale=0.8, atomic_inter_shift=0.16,
        )  # fmt: skip
    return model.requires_grad_(False).eval()


class System:
    """One model on one perovskite, every method bound and warm."""

    def __init__(self, shape, dtype, size, seed=1):
        import torch

        from alchemc import AlchemicalMACE, builders

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        self.model = model_of(shape, dtype)
        self.lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.99, size=size)
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.options = {"dtype": dtype, "memory": 0, "device": "cpu"}
        self.hamiltonian = AlchemicalMACE(self.lattice, self.model, **self.options)
        self.calculator = None

    @functools.cached_property
    def torch(self):
        """The same potential by the modules of mace-torch."""
        from alchemc import AlchemicalMACE

        return AlchemicalMACE(self.lattice, self.model, engine="torch", **self.options)

    def draw(self):
        """Random occupation, half of each."""
        n = self.lattice.n_sites
        occupation = np.zeros(n, dtype=np.int8)
        occupation[self.rng.permutation(n)[: n // 2]] = 1
        return occupation[None]

    def swap(self, occupation, near=False):
        """Two sites to exchange: any unlike pair, or one with its nearest unlike neighbour."""
        first = int(self.rng.choice(np.flatnonzero(occupation[0] == 0)))
        other = np.flatnonzero(occupation[0] == 1)
        if near:
            atoms = self.lattice.atoms
            sites = self.lattice.sites
            distance = atoms.get_distances(sites[first], sites[other], mic=True)
            second = int(other[np.argmin(distance)])
        else:
            second = int(self.rng.choice(other))
        return np.array([[first, second]]), np.array([[1, 0]])

    def call(self, method, occupation, near=False):
        """Seconds of one call."""
        if method == "stock":
            return self._stock(occupation)
        if method == "published":
            return timed(lambda: published(self.torch, occupation[0]))
        if method == "energy_change":
            self.hamiltonian.energy(occupation)
            sites, species = self.swap(occupation, near)
            return timed(lambda: self.hamiltonian.energy_change(occupation, sites, species))
        self.forget()
        function = getattr(self.hamiltonian, method)
        return timed(lambda: function(occupation))

    def forget(self):
        """Keep no features, so that the next energy is a full one."""
        if self.hamiltonian._states is not None:
            self.hamiltonian._states._kept.clear()

    def _stock(self, occupation):
        from mace.calculators import MACECalculator

        if self.calculator is None:
            self.calculator = MACECalculator(
                models=[self.model], device="cpu", default_dtype=self.dtype
            )
        atoms = self.lattice.to_atoms(occupation[0])
        atoms.calc = self.calculator
        self.calculator.results = {}
        return timed(lambda: (atoms.get_potential_energy(), atoms.get_forces()))


def published(hamiltonian, occupation):
    """One evaluation as published (Nam et al. 2025): all pairs of nodes, every edge embedded anew.

    Energy, forces and ∂E/∂λ in one backward pass, as that code does for λ-dynamics.
    """
    import torch

    from alchemc.potentials.graph import select

    graph, nodes = hamiltonian._graph, hamiltonian._nodes
    weights = nodes.weights(hamiltonian.lattice.weights(occupation))
    everything = np.ones(len(graph.expansion.edge), dtype=bool)
    with hamiltonian._execution():
        selection = select(graph.expansion, np.ones(len(weights), dtype=bool), everything)
        positions = graph._real(graph.positions).requires_grad_(True)
        lam = graph._real(weights).requires_grad_(True)
        inputs = graph._fresh(selection, positions, graph._real(np.zeros((3, 3))))
        energy = graph._total(selection, lam, inputs, graph._sender(selection, lam))
        torch.autograd.grad(energy, [positions, lam])
    return energy.item()


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


# ---- workers --------------------------------------------------------------------------------


def peak():
    """Peak memory of this process so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(shape, dtype, size, repeats):
    """Median seconds of every method, the methods in turn."""
    system = System(shape, dtype, size)
    found = {method: [] for method in METHODS}
    for n in range(repeats + 1):
        occupation = system.draw()
        for method in METHODS:
            seconds = system.call(method, occupation)
            if n:  # the first round builds tables
                found[method].append(seconds)
    check = abs(system.hamiltonian.energy(occupation)[0] - system.torch.energy(occupation)[0])
    return {
        "atoms": len(system.lattice.atoms),
        "seconds": {method: statistics.median(values) for method, values in found.items()},
        "deviation_from_torch_eV": check,
    }


def memory(shape, dtype, size, method):
    """Peak memory of a process that runs one method, over that of the model alone."""
    system = System(shape, dtype, size)
    occupation = system.draw()
    before = peak()
    if method == "energy_change":
        system.hamiltonian.energy(occupation)
    system.call(method, occupation)
    return {"before_MB": before, "peak_MB": peak()}


def growth(shape, dtype, sizes, repeats):
    """Full energies and swaps in cells of growing size, in turn."""
    systems = {size: System(shape, dtype, (size,) * 3) for size in sizes}
    rows = {size: {"energy": [], "swap_near": [], "swap_any": []} for size in sizes}
    for n in range(repeats + 1):
        for size, system in systems.items():
            occupation = system.draw()
            row = {
                "energy": system.call("energy", occupation),
                "swap_near": system.call("energy_change", occupation, near=True),
                "swap_any": system.call("energy_change", occupation),
            }
            if n:
                for key, value in row.items():
                    rows[size][key].append(value)
    return [
        {"atoms": 5 * size**3}
        | {key: statistics.median(values) for key, values in row.items()}
        | {"bound": operations(systems[size])}
        for size, row in rows.items()
    ]


def operations(system):
    """Multiply-adds and bytes of one full energy, layer by layer, from the arrays themselves."""
    states = system.hamiltonian._compiled()
    engine = states.engine
    p, g, real = engine.parameters, engine.geometry, engine.real.itemsize
    n, channels = g.n_positions, engine.channels
    edges = len(g.sender)
    found = {}
    for t, layer in enumerate(p.layers):
        if t == 0 and engine._first is not None:
            from_sites = len(engine._first[3])
            message = from_sites * layer.linear.n_out * channels
            read = from_sites * layer.linear.n_out * channels * real
            linear = 0
        else:
            message = edges * channels * (layer.paths.shape[0] + len(np.unique(layer.paths[:, 0])))
            read = edges * channels * (layer.up.n_out + len(np.unique(layer.paths[:, 0]))) * real
            linear = n * len(layer.linear.entries) * channels**2
        poly = layer.product
        terms = len(poly.first) + len(poly.second) + len(poly.third)
        rest = len(layer.down.entries) + (0 if t == 0 else len(layer.up.entries))
        rest += 0 if layer.skip is None else len(layer.skip.entries)
        found[f"layer {t + 1}"] = {
            "message_fma": int(message),
            "message_bytes_read": int(read),
            "linear_fma": int(linear + n * rest * channels**2),
            "contraction_fma": int(n * terms * channels),
        }
    features = engine.features(states._present(system.draw()[0]))
    found["features_bytes"] = features.nbytes
    found["radial_table_bytes"] = sum(int(w.nbytes) for w in engine.radial.weights)
    return found


def hundred_thousand(shape, dtype, displacement):
    """One full energy and 100 swaps of 102,060 atoms."""
    begin = time.perf_counter()
    system = System(shape, dtype, (27, 27, 28))
    hamiltonian = system.hamiltonian
    if displacement:
        positions = system.lattice.displaced_positions(displacement, seed=1)
        hamiltonian = system.hamiltonian = hamiltonian.at(positions)
    bound = time.perf_counter() - begin
    occupation = system.draw()
    tables = timed(lambda: hamiltonian.energy(occupation))
    system.forget()
    full = timed(lambda: hamiltonian.energy(occupation))
    energy, swaps = hamiltonian.energy(occupation)[0], []
    for _ in range(100):
        sites, species = system.swap(occupation)
        begin = time.perf_counter()
        change = hamiltonian.energy_change(occupation, sites, species)[0]
        swaps.append(time.perf_counter() - begin)
        if system.rng.random() < 0.5:
            occupation[0, sites[0]] = species[0]
            energy += change
    system.forget()
    return {
        "atoms": len(system.lattice.atoms),
        "displacement_A": displacement,
        "setup_seconds": bound,
        "first_energy_seconds": tables,
        "energy_seconds": full,
        "swap_seconds": statistics.median(swaps),
        "drift_eV": energy - hamiltonian.energy(occupation)[0],
        "peak_MB": peak(),
    }


def replicas(shape, dtype, size, counts):
    """Energies per second against the number of replicas and of threads."""
    from alchemc import AlchemicalMACE

    system = System(shape, dtype, (size,) * 3)
    rows = []
    for threads in (1, 2):
        hamiltonian = AlchemicalMACE(
            system.lattice, system.model, threads=threads, **system.options
        )
        hamiltonian.energy(system.draw())
        for count in counts:
            tried = []
            for _ in range(3):  # other occupations every time: none is known from before
                batch = np.concatenate([system.draw() for _ in range(count)])
                tried.append(timed(lambda b=batch: hamiltonian.energy(b)))
            seconds = min(tried)
            rows.append({"threads": threads, "replicas": count, "per_second": count / seconds})
    return {"atoms": len(system.lattice.atoms), "rows": rows}


def worker(name, arguments):
    """Run one of the functions above in a process of its own and return what it found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        task = json.dumps([name, arguments, str(out)])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, __file__, "--task", task],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0 or not out.exists():
            reason = "out of memory" if done.returncode in (-9, 137) else done.stderr[-200:]
            return {"failed": reason or f"exit {done.returncode}"}
        return json.loads(out.read_text())


# ---- the run --------------------------------------------------------------------------------


def compare(cases):
    rows = []
    for shape, dtype, size, repeats in cases:
        row = {"model": shape, "dtype": dtype}
        row |= worker("times", [shape, dtype, [size] * 3, repeats])
        row["memory"] = {
            method: worker("memory", [shape, dtype, [size] * 3, method]) for method in METHODS
        }
        rows.append(row)
        show(row)
    return rows


def show(row):
    if "failed" in row:
        print(f"{row['model']:>8} {row['dtype']} failed: {row['failed']}", flush=True)
        return
    seconds = row["seconds"]
    stock = seconds["stock"]
    print(f"{row['model']:>8} {row['dtype']} {row['atoms']:6d} atoms", flush=True)
    for method in METHODS:
        used = row["memory"][method]
        extra = used["peak_MB"] - used["before_MB"] if "peak_MB" in used else float("nan")
        print(
            f"   {method:>20} {seconds[method] * 1e3:10.2f} ms  {seconds[method] / stock:8.4f} of "
            f"stock E+F  {extra:9.0f} MB",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small cells only")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        name, arguments, out = json.loads(options.task)
        Path(out).write_text(json.dumps(globals()[name](*arguments)))
        return
    import torch

    cases = [("bundled", dtype, size, 5) for size in (2, 4, 8) for dtype in ("float64", "float32")]
    cases += [("MP-0 small", dtype, size, 3) for size in (2, 4) for dtype in ("float64", "float32")]
    cases += [("MP-0 small", "float32", 8, 1)]
    if options.quick:
        cases = [case for case in cases if case[2] <= 2]
    document = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "comparison": compare(cases),
        "replicas": [
            worker("replicas", ["bundled", "float64", size, [1, 4, 16, 64]]) for size in (2, 4)
        ],
    }
    if not options.quick:
        document["growth"] = {
            shape: worker("growth", [shape, "float64", [8, 16], 7])
            for shape in ("bundled", "MP-0 small")
        }
        document["hundred_thousand"] = {
            f"{shape}, {dtype}, {'displaced' if d else 'ideal'}": worker(
                "hundred_thousand", [shape, dtype, d]
            )
            for shape, dtype, d in (
                ("bundled", "float64", 0.0),
                ("bundled", "float64", 0.05),
                ("MP-0 small", "float64", 0.0),
            )
        }
    for key in ("replicas", "growth", "hundred_thousand"):
        print(key, json.dumps(document.get(key), indent=1), flush=True)
    if not options.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
