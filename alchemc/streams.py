"""Random streams: one PCG64 generator per chain, its state stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError

__all__ = [
    "generator_state",
    "restore_generator",
    "restored_generators",
    "spawn_generators",
    "stored_generators",
]


def spawn_generators(seed: int, n_chains: int, first: int = 0) -> list[np.random.Generator]:
    """Return the generators of chains ``first`` … ``first + n_chains − 1`` of a run.

    Chain c has the stream of child c of ``SeedSequence(seed)``: it depends on the seed and on c,
    not on how many chains there are or which process holds them.

    Parameters
    ----------
    seed
        A whole number, 0 or above.
    n_chains
        How many generators.
    first
        Index of the first chain.

    Raises
    ------
    InputError
        If one of the numbers is not whole or is negative.

    Examples
    --------
    >>> a, b = spawn_generators(7, 2)
    >>> (again,) = spawn_generators(7, 1, first=1)
    >>> b.random() == again.random()
    True
    """
    for name, value in (("seed", seed), ("n_chains", n_chains), ("first", first)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{name} {value!r} cannot be used: give a whole number, 0 or above")
    return [
        np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=(chain,))))
        for chain in range(first, first + n_chains)
    ]


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """JSON-able state of a PCG64 generator, from which ``restore_generator`` continues.

    Raises
    ------
    InputError
        If the generator is not a PCG64.

    Examples
    --------
    >>> import json
    >>> rng = spawn_generators(1, 1)[0]
    >>> stored = json.loads(json.dumps(generator_state(rng)))
    >>> restore_generator(stored).random() == rng.random()
    True
    """
    state: Any = rng.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise InputError(
            f"a {state['bit_generator']} generator cannot be stored: use spawn_generators (PCG64)"
        )
    inner = state["state"]
    return {
        "bit_generator": "PCG64",
        "state": str(inner["state"]),
        "inc": str(inner["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """Return a generator that continues where the one given to ``generator_state`` stood.

    Raises
    ------
    InputError
        If the dictionary is not such a state.
    """
    bit_generator = np.random.PCG64(0)
    try:
        bit_generator.state = {
            "bit_generator": state["bit_generator"],
            "state": {"state": int(state["state"]), "inc": int(state["inc"])},
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"generator state {state!r} cannot be read ({error!r}): "
            "expected what generator_state returned"
        ) from error
    return np.random.Generator(bit_generator)


def stored_generators(rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """States of generators as an array of JSON texts, for ``numpy.savez`` without pickling.

    Examples
    --------
    >>> rngs = spawn_generators(1, 2)
    >>> again = restored_generators(stored_generators(rngs))
    >>> [a.random() == b.random() for a, b in zip(rngs, again)]
    [True, True]
    """
    return np.array([json.dumps(generator_state(rng)) for rng in rngs])


def restored_generators(stored: np.ndarray) -> list[np.random.Generator]:
    """Return the generators that ``stored_generators`` took apart."""
    return [restore_generator(json.loads(str(one))) for one in stored]
