"""What a lattice refuses: each message is one line that names the value and a remedy."""

import numpy as np
import pytest
from ase import Atoms

from alchemc import builders
from alchemc.errors import InputError
from alchemc.lattice import Lattice, Sublattice

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def perovskite(size=(2, 2, 2), **options):
    return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=size, **options)


def rattled(**changes):
    """A perovskite cell with something wrong, as atoms."""
    atoms = perovskite((2, 1, 1)).atoms.copy()
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


def with_position(index, value):
    atoms = rattled()
    atoms.positions[index] = value
    return atoms


def changed_atoms(size, change):
    atoms = perovskite(size).atoms.copy()
    atoms.positions = atoms.positions.copy()
    change(atoms)
    return atoms


def on(atoms, **sublattice):
    return Lattice(
        atoms, {"B": Sublattice(**{"sites": "Sc", "species": ("Sc", "Ta")} | sublattice)}
    )


B = {"B": Sublattice("Sc", ("Sc", "Ta"))}

BAD_LATTICES = {
    "not atoms": (lambda: Lattice("POSCAR", B), "atoms is a str; give an ase.Atoms"),
    "no atoms": (lambda: Lattice(Atoms(cell=[4] * 3, pbc=True), B), "no atoms"),
    "slab": (lambda: on(rattled(pbc=[True, True, False])), "set atoms.pbc = True"),
    "no cell": (lambda: on(Atoms("Sc", pbc=True)), "no volume"),
    "flat": (
        lambda: on(Atoms("Sc", cell=[[1, 0, 0], [0, 1, 0], [1, 1, 0]], pbc=True)),
        "no volume",
    ),
    "nan cell": (lambda: on(Atoms("Sc", cell=[4, 4, np.nan], pbc=True)), "finite"),
    "nan": (lambda: on(with_position(3, np.nan)), r"atom 3 \(O\).*nan.*finite"),
    "infinite": (lambda: on(with_position(3, np.inf)), r"atom 3 \(O\)"),
    "overlap": (lambda: on(with_position(3, [2, 2, 2.3])), r"atoms 1 and 3 are 0\.300 Å apart"),
    "same": (lambda: on(with_position(3, [2, 2, 2])), r"atoms 1 and 3 are 0\.000 Å apart"),
    "image": (lambda: on(with_position(3, [2, 2, -1.7])), r"atoms 1 and 3 are 0\.300 Å"),
    "own image": (lambda: on(Atoms("Sc", cell=[4, 4, 0.4], pbc=True)), "atoms 0 and 0"),
    "stray vacancy": (lambda: on(rattled(symbols=["X", "Sc", *"OOO"] * 2)), "atom 0 is 'X'"),
    "nothing": (lambda: Lattice(rattled(), {}), "give at least one"),
    "a list": (lambda: Lattice(rattled(), [Sublattice("Sc", ("Sc",))]), "give at least one"),
    "a tuple": (
        lambda: Lattice(rattled(), {"B": ("Sc", "Ta")}),
        "'B' is a tuple; give a Sublattice",
    ),
    "name": (lambda: Lattice(rattled(), {"": Sublattice("Sc", ("Sc",))}), "called ''"),
    "line": (lambda: Lattice(rattled(), {"a\nb": Sublattice("Sc", ("Sc",))}), "give a name"),
    "absent": (lambda: on(rattled(), sites="Ti"), "no 'Ti' atom; it holds O, Sc, Pb"),
    "beyond": (lambda: on(rattled(), sites=[1, 10]), "10 is out of range; the structure has 10"),
    "overlapping": (
        lambda: Lattice(rattled(), B | {"C": Sublattice([6], ("Nb",))}),
        "atom 6 belongs to the sublattices 'B' and 'C'",
    ),
    "no sites": (lambda: on(rattled(), sites=[]), "sites is empty"),
    "number": (lambda: on(rattled(), sites=3), "sites is 3; give"),
    "negative": (lambda: on(rattled(), sites=[-1]), "index -1; indices count from 0"),
    "twice": (lambda: on(rattled(), sites=[1, 6, 1]), "index 1 twice"),
    "endless": (lambda: on(rattled(), sites=[2**70]), "no structure has so many"),
    "crowd": (  # 20,480 atoms have 4·10⁸ pairs: too many to look at one by one
        lambda: on(changed_atoms((16, 16, 16), lambda a: a.positions.fill(1.0))),
        r"0\.000 Å apart",
    ),
    "no element": (lambda: on(rattled(numbers=[82, 21, 8, 8, 130] * 2)), "atom 4 .*number 130"),
    "negative element": (lambda: on(rattled(numbers=[-1, 21, 8, 8, 8] * 2)), "atom 0 .*number -1"),
    "mixed": (lambda: on(rattled(), sites=["Sc", 1]), "either symbols or whole atom indices"),
    "floats": (lambda: on(rattled(), sites=[1.0, 6.0]), "holds 1.0; give"),
    "mask": (lambda: on(rattled(), sites=np.ones(10, dtype=bool)), "holds True"),
    "nested": (lambda: on(rattled(), sites=[[1], [6]]), "give either symbols"),
    "site symbol": (
        lambda: on(rattled(), sites="sc"),
        "'sc' is not a chemical symbol; did you mean 'Sc'",
    ),
    "species": (lambda: on(rattled(), species=("Sc", "Tq")), "'Tq' is not a chemical symbol"),
    "species case": (lambda: on(rattled(), species=("SC", "Ta")), "did you mean 'Sc'"),
    "species type": (lambda: on(rattled(), species=("Sc", 73)), "species 73 is not"),
    "species text": (lambda: on(rattled(), species="ScTa"), "give a sequence of symbols"),
    "unordered species": (lambda: on(rattled(), species={"Sc", "Ta"}), "give a sequence"),
    "unordered charges": (lambda: on(rattled(), charges={3, 5}), "give one number per"),
    "long charge": (lambda: on(rattled(), charges=(10**400, 5)), "charge of 'Sc' is 1000"),
    "no species": (lambda: on(rattled(), species=()), "at least one allowed species"),
    "duplicate": (lambda: on(rattled(), species=("Fe", "Sc", "Fe")), "'Fe' stands twice"),
    "charge state": (
        lambda: on(rattled(), species=("Fe2+", "Fe3+")),
        "'Fe2\\+' is a charge state.*'Fe'",
    ),
    "few charges": (lambda: on(rattled(), charges=(3,)), "1 values for the 2 species"),
    "vacancy charge": (
        lambda: on(rattled(), species=("Sc", "X"), charges={"Sc": 3}),
        "lacks the vacancy 'X'",
    ),
    "lacking charge": (lambda: on(rattled(), charges={"Sc": 3}), "lacks 'Ta'"),
    "foreign charge": (
        lambda: on(rattled(), charges={"Sc": 3, "Ta": 5, "T": 1}),
        "did you mean 'Ta'",
    ),
    "charge type": (lambda: on(rattled(), charges=("3+", 5)), "charge of 'Sc' is '3\\+'"),
    "charge nan": (lambda: on(rattled(), charges=(np.nan, 5)), "charge of 'Sc' is nan"),
    "charges type": (lambda: on(rattled(), charges=3), "charges is 3; give one number per"),
    "one charged": (
        lambda: Lattice(rattled(), B | {"A": Sublattice("Pb", ("Pb",), (2,))}),
        "'B' has no charges but 'A' has",
    ),
    "spectator": (lambda: perovskite(spectator_charges={"Pb": 2}), "lacks 'O'"),
    "no spectator": (
        lambda: perovskite(spectator_charges={"Pb": 2, "O": -2, "Sc": 3}),
        "'Sc', which is no spectator",
    ),
    "spectator type": (lambda: perovskite(spectator_charges=2), "spectator_charges is 2"),
    "nominal": (lambda: Lattice(rattled(), B, composition={"b": {}}), "'b', which does not exist"),
    "size": (lambda: perovskite(size=(2, 2)), r"supercell is \(2, 2\); give three"),
    "size zero": (lambda: perovskite(size=(2, 2, 0)), "at least 1"),
    "size float": (lambda: perovskite(size=2.0), "supercell is 2.0"),
    "size bool": (lambda: perovskite(size=True), "supercell is True"),
    "stored": (lambda: Lattice.from_dict({"format": "x"}), "format 'x'; expected"),
    "not stored": (lambda: Lattice.from_dict([1]), "format None"),
    "damaged": (
        lambda: Lattice.from_dict({k: v for k, v in perovskite().to_dict().items() if k != "cell"}),
        "damaged \\(KeyError: 'cell'\\)",
    ),
    "stored fractions": (
        lambda: Lattice.from_dict(perovskite().to_dict() | {"numbers": [21.5] * 40}),
        "damaged.*atomic numbers of type float64",
    ),
    "stored twice": (
        lambda: Lattice.from_dict(
            perovskite().to_dict() | {"sublattices": 2 * perovskite().to_dict()["sublattices"]}
        ),
        "damaged.*two sublattices of one name",
    ),
    "damaged positions": (
        lambda: Lattice.from_dict(perovskite().to_dict() | {"positions": [[0, 0]]}),
        "damaged",
    ),
}

BAD_USE = {
    "not whole": (
        lambda x: x.composition_counts({"B": {"Sc": 0.3, "Ta": 0.7}}),
        r"Sc 0\.3, Ta 0\.7 is no whole number of the 8 sites.*Sc 0\.25 \(2 of 8\), Ta 0\.75",
    ),
    "sum": (lambda x: x.composition_counts({"B": {"Sc": 0.5, "Ta": 0.4}}), "add up to 0.9"),
    "negative": (lambda x: x.random({"B": {"Sc": -0.5, "Ta": 1.5}}), "rng is None"),
    "fraction": (lambda x: x.mean_weights({"B": {"Sc": -0.5, "Ta": 1.5}}), "'Sc'.*is -0.5"),
    "counts": (lambda x: x.composition_counts({"B": {"Sc": 4, "Ta": 4}}), "fractions, not numbers"),
    "nan": (lambda x: x.composition_counts({"B": {"Sc": np.nan, "Ta": 1}}), "is nan"),
    "text": (lambda x: x.composition_counts({"B": {"Sc": "half", "Ta": 0.5}}), "'half'"),
    "unknown": (
        lambda x: x.composition_counts({"B": {"Sc": 0.5, "Tb": 0.5}}),
        "'Tb'.*use one of Sc, Ta",
    ),
    "sublattice": (lambda x: x.composition_counts({"b": {"Sc": 1}}), "'b', which does not exist"),
    "missing": (lambda x: x.composition_counts({}), "lacks the sublattice 'B'"),
    "form": (lambda x: x.composition_counts(0.5), "composition is 0.5"),
    "flat": (lambda x: x.composition_counts({"B": 0.5}), "composition of 'B' is 0.5"),
    "none": (lambda x: x.composition_counts(), "no composition is given"),
    "replicas": (lambda x: x.random(HALF, np.random.default_rng(0), 0), "n_replicas is 0"),
    "replicas float": (lambda x: x.random(HALF, np.random.default_rng(0), 2.0), "replicas is 2.0"),
    "replicas bool": (lambda x: x.random(HALF, np.random.default_rng(0), True), "replicas is True"),
    "complex": (
        lambda x: x.mean_weights({"B": {"Sc": np.complex128(0.5), "Ta": 0.5}}),
        r"0\.5\+0j",
    ),
    "floats": (lambda x: x.check(np.zeros(8)), "float64 values"),
    "ragged": (lambda x: x.check([[0] * 8, [0] * 7]), "differ in length"),
    "shape": (lambda x: x.check(np.zeros(7, int)), r"shape \(7,\); expected \(8,\)"),
    "depth": (lambda x: x.check(np.zeros((1, 1, 8), int)), "shape"),
    "high": (lambda x: x.counts([0, 0, 2, 0, 0, 0, 0, 0]), "site 2 holds species index 2.*0 to 1"),
    "low": (
        lambda x: x.check([[0] * 8, [0] * 7 + [-1]]),
        r"site 7 of replica 1 holds species index -1.*\(Sc, Ta\)",
    ),
    "two": (lambda x: x.to_atoms(np.zeros((2, 8), int)), "one occupation"),
    "positions": (
        lambda x: x.to_atoms([0] * 8, positions=np.zeros((8, 3))),
        r"\(8, 3\); expected \(40",
    ),
    "nan positions": (
        lambda x: x.to_atoms([0] * 8, positions=np.full((40, 3), np.nan)),
        "row 0 of positions",
    ),
    "cell": (lambda x: x.to_atoms([0] * 8, cell="cubic"), "cell is no array"),
    "thin cell": (lambda x: x.to_atoms([0] * 8, cell=np.diag([8, 8, 1e-9])), "has no volume"),
    "flat cell": (lambda x: x.to_atoms([0] * 8, cell=np.diag([8, 8, 0])), "has no volume"),
    "site text": (lambda x: x.species_of("Sc"), "site 'Sc' does not exist"),
    "site float": (lambda x: x.species_of(0.5), "site 0.5 does not exist"),
    "site": (lambda x: x.species_of(8), "site 8 does not exist; sites run from 0 to 7"),
    "slice": (lambda x: x.site_slice("b"), "no sublattice is called 'b'; did you mean 'B'"),
    "shells": (lambda x: x.shells(0), "n_shells is 0"),
    "shells bool": (lambda x: x.shells(True), "n_shells is True"),
    "tolerance": (lambda x: x.shells(1, tolerance=-1), "tolerance is -1"),
    "tolerance nan": (lambda x: x.shells(1, tolerance=np.nan), "tolerance is nan"),
    "tolerance type": (lambda x: x.shells(1, tolerance="0"), "tolerance is '0'"),
    "wide tolerance": (lambda x: x.shells(2, tolerance=3.0), "or a smaller tolerance"),
    "many shells": (lambda x: x.shells(101), "1 to 100"),
    "amplitude": (lambda x: x.displaced_positions(-0.1, 1), "amplitude is -0.1"),
    "amplitude type": (lambda x: x.displaced_positions("0.1", 1), "amplitude is '0.1'"),
    "seed": (lambda x: x.displaced_positions(0.1, -1), "seed is -1"),
    "seed type": (lambda x: x.displaced_positions(0.1, 0.5), "seed is 0.5"),
    "array": (lambda x: x.random(np.eye(30), np.random.default_rng(0)), "composition is array"),
    "many": (lambda x: x.repeat(3).enumerate(), "about 10\\^65 arrangements are too many"),
    "very many": (lambda x: x.repeat(16).enumerate(), "about 10\\^9864 arrangements are too many"),
    "too many": (
        lambda x: x.repeat((3, 1, 1)).enumerate({"B": {"Sc": 0.5, "Ta": 0.5}}),
        "2704156 arrangements",
    ),
    "operations": (lambda x: x.repeat((6, 6, 6)).symmetry_permutations(), "too many to list"),
}


def fill(lattice):
    return lattice.to_atoms(np.zeros(lattice.n_sites, int))


def changed(lattice, change):
    atoms = fill(lattice)
    change(atoms)
    return lattice.from_atoms(atoms)


def behind_a_vacancy(lattice, position):
    """A structure that lists a vacancy first, and whose first atom is moved."""
    atoms = fill(lattice)
    atoms.positions[0] = position
    listed = Atoms("X", [[1.0, 1.0, 1.0]], cell=atoms.cell, pbc=True)
    listed.extend(atoms)
    return lattice.from_atoms(listed)


BAD_STRUCTURES = {
    "type": (lambda x: x.from_atoms("POSCAR"), "atoms is a str"),
    "cell of atoms": (lambda x: x.from_atoms(fill(x).repeat((2, 1, 1))), "give the same supercell"),
    "no cell": (lambda x: x.from_atoms(Atoms("Sc")), "give the same supercell"),
    "foreign": (
        lambda x: changed(x, lambda a: a.symbols.__setitem__(1, "Fe")),
        r"has Fe where the lattice has a site for Sc, Ta \(atom 1 ",
    ),
    "spectator": (
        lambda x: changed(x, lambda a: a.symbols.__setitem__(2, "S")),
        r"has S where the lattice has a fixed O \(atom 2 ",
    ),
    "missing site": (lambda x: changed(x, lambda a: a.__delitem__(1)), "no atom where.*Sc, Ta"),
    "missing spectator": (lambda x: changed(x, lambda a: a.__delitem__(2)), "no atom.*fixed O"),
    "far": (
        lambda x: changed(x, lambda a: a.positions.__setitem__(0, [1.1, 1.1, 0.9])),
        r"atom 0 \(Pb\) lies more than 1.0 Å",
    ),
    "shared": (
        lambda x: changed(x, lambda a: a.positions.__setitem__(0, a.positions[1] + [0.3, 0, 0])),
        r"atoms 0 \(Pb\) and 1 \(Sc\) are both nearest to position 1",
    ),
    "nan of atoms": (lambda x: changed(x, lambda a: a.positions.__setitem__(0, np.nan)), "row 0"),
    "behind a vacancy": (lambda x: behind_a_vacancy(x, [1.1, 1.1, 0.9]), r"atom 1 \(Pb\) lies"),
    "shared behind one": (
        lambda x: behind_a_vacancy(x, x.atoms.positions[1] + [0.3, 0, 0]),
        r"atoms 1 \(Pb\) and 2 \(Sc\) are both nearest",
    ),
    "tolerance of atoms": (lambda x: x.from_atoms(fill(x), tolerance=-1), "tolerance is -1"),
    "tolerance type of atoms": (lambda x: x.from_atoms(fill(x), tolerance="1"), "tolerance is '1'"),
    "endless tolerance": (lambda x: x.from_atoms(fill(x), tolerance=np.inf), "tolerance is inf"),
}


def assert_one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize("case", BAD_LATTICES)
def test_a_bad_lattice_is_refused_in_one_line(case):
    build, message = BAD_LATTICES[case]
    with pytest.raises(InputError, match=message) as error:
        build()
    assert_one_line(error)


def test_no_case_hides_another():
    assert not BAD_USE.keys() & BAD_STRUCTURES.keys()


@pytest.mark.parametrize("case", BAD_USE | BAD_STRUCTURES)
def test_bad_use_is_refused_in_one_line(case):
    use, message = (BAD_USE | BAD_STRUCTURES)[case]
    with pytest.raises(InputError, match=message) as error:
        use(perovskite())
    assert_one_line(error)


def test_shells_of_several_sublattices_need_a_name():
    lattice = builders.fluorite(("Zr", "Y"), ("O", "X"), a=5.15)
    with pytest.raises(InputError, match="give one of cation, anion"):
        lattice.shells(1)
