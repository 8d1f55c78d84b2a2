"""Several kernels at once: what they ask of an energy model is answered in one batched call.

Every job runs in a thread of its own up to its next question to the model; when all jobs wait (or
are done), the caller's thread answers all of them. Answers depend on the questions alone, so that
results depend neither on which thread was faster nor on how many run at a time.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..potentials.lattice_hamiltonian import LatticeHamiltonian
from ..protocols import Hamiltonian

__all__ = ["Gathered", "gathered", "together"]

T = TypeVar("T")

LONG = 2e-3  # seconds


class _Question(NamedTuple):
    """A method of a model to call, and with what."""

    model: Any
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def asked(self) -> _Answer:
        """Call the method; what it raises is an answer, too."""
        try:
            value = getattr(self.model, self.method)(*self.arguments, **self.options)
        except Exception as error:
            return _Answer(None, error)
        return _Answer(value, None)


class _Answer(NamedTuple):
    value: Any
    error: Exception | None


class _Abandoned(BaseException):
    """Ends a job that nobody waits for any more."""


class Gathered:
    """An energy model as jobs of ``together`` see it: their calls are gathered.

    Energies, gradients and changes that several jobs want are evaluated as one batch, in the order
    of the jobs; other methods one by one. Outside ``together`` it is the model itself.

    Parameters
    ----------
    model
        The energy model.
    """

    def __init__(self, model: Hamiltonian) -> None:
        self.model = model
        self.lattice = model.lattice

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Total energies in eV, [n_replicas], of occupations [n_replicas, n_sites]."""
        return _ask(self.model, "energy", occupations)

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and gradients ∂E/∂λ [n_replicas, n_sites, n_species_max] in eV."""
        return _ask(self.model, "energy_and_gradient", occupations)

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Exact ΔE in eV, [n_replicas], of setting ``sites`` to ``species`` [n_replicas, m]."""
        return _ask(self.model, "energy_change", occupations, sites, species)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":  # a copy asks before it has a model
            raise AttributeError(name)
        value = getattr(self.model, name)
        if not callable(value):
            return value

        def method(*arguments: Any, **options: Any) -> Any:
            found = _ask(self.model, name, *arguments, **options)
            return Gathered(found) if name == "at" else found

        return method


def gathered(model: Hamiltonian) -> Hamiltonian:
    """Return the model as jobs should see it: lattice Hamiltonians as they are.

    Those have compiled blocks, which run at once in several threads without the interpreter.
    """
    return model if isinstance(model, LatticeHamiltonian | Gathered) else Gathered(model)


def together(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run jobs at once, their questions to `Gathered` models answered together.

    Parameters
    ----------
    jobs
        Functions without arguments that share nothing they change.

    Returns
    -------
    What the jobs return, in their order: the same as one after the other, bit for bit, where the
    model's answer for one occupation does not depend on the batch it is in.

    Raises
    ------
    Exception
        What the first of the failing jobs raised; the others are stopped where they wait. An error
        of a batch is raised in the jobs whose questions fail by themselves.
    """
    if len(jobs) == 1:
        return [jobs[0]()]
    return _Conversation(len(jobs)).run(jobs)


class _Conversation:
    """Jobs in threads of their own that ask, and the caller's thread that answers."""

    def __init__(self, n_jobs: int) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._all_wait = _closed()
        self._gates = [_closed() for _ in range(n_jobs)]
        self._questions: list[_Question | None] = [None] * n_jobs
        self._answers: list[_Answer | None] = [None] * n_jobs
        self._results: list[Any] = [None] * n_jobs
        self._errors: list[BaseException | None] = [None] * n_jobs
        self._done = [True] * n_jobs
        self._over = False

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Start the jobs, answer until none asks any more, and return their results."""
        try:
            self._let_go([partial(self._start, place, job) for place, job in enumerate(jobs)])
            while waiting := self._waiting():
                answers = _answers([self._questions[place] for place in waiting])
                replies = zip(waiting, answers, strict=True)
                self._let_go([partial(self._reply, place, answer) for place, answer in replies])
        finally:
            self._finish()
        for error in self._errors:
            if error is not None and not isinstance(error, _Abandoned):
                raise error
        return self._results

    def ask(self, place: int, question: _Question) -> Any:
        """Wait, in a job's thread, for the answer to its question."""
        self._questions[place] = question
        self._pause()
        self._gates[place].acquire()
        answer = self._answers[place]
        if self._over or answer is None:
            raise _Abandoned
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _start(self, place: int, job: Callable[[], Any]) -> None:
        # Settings such as numpy's errstate belong to the caller's context.
        context = contextvars.copy_context()
        self._done[place] = False
        try:
            _pool().submit(context.run, self._work, place, job)
        except BaseException:
            self._done[place] = True  # it never ran
            raise

    def _work(self, place: int, job: Callable[[], Any]) -> None:
        _here.set((self, place))
        try:
            self._results[place] = job()
        except BaseException as error:
            self._errors[place] = error
        finally:
            self._done[place] = True
            self._pause()

    def _pause(self) -> None:
        with self._lock:
            self._busy -= 1
            if self._busy == 0:
                self._all_wait.release()

    def _let_go(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Let jobs run up to their next question, or their end.

        One after the other while they take less than it costs to have threads fight over the
        interpreter; after the first that takes longer all others at once.
        """
        left = list(jobs)
        while left:
            begin = time.perf_counter()
            self._let_go_at_once([left.pop(0)])
            if time.perf_counter() - begin > LONG and left:
                self._let_go_at_once(left)
                return

    def _let_go_at_once(self, jobs: Sequence[Callable[[], None]]) -> None:
        self._busy = len(jobs)
        for job in jobs:
            job()
        self._all_wait.acquire()

    def _waiting(self) -> list[int]:
        """Jobs that wait for an answer; none if one has failed."""
        if any(error is not None for error in self._errors):
            return []
        return [place for place, question in enumerate(self._questions) if question is not None]

    def _reply(self, place: int, answer: _Answer) -> None:
        self._questions[place], self._answers[place] = None, answer
        self._gates[place].release()

    def _finish(self) -> None:
        """Stop the jobs that still wait or are on their way to, wherever this one was stopped."""
        self._over = True
        while not all(self._done):
            for gate in self._gates:
                if gate.locked():
                    gate.release()
            time.sleep(1e-3)


_here: contextvars.ContextVar[tuple[_Conversation, int] | None] = contextvars.ContextVar(
    "_here", default=None
)


def _ask(model: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of the model, through the conversation that this thread takes part in."""
    place = _here.get()
    if place is None:
        return getattr(model, method)(*arguments, **options)
    conversation, index = place
    return conversation.ask(index, _Question(model, method, arguments, options))


def _answers(questions: Sequence[_Question | None]) -> list[_Answer]:
    """Answer questions, those of one kind to one model as a batch."""
    groups: dict[tuple[int, str], list[int]] = {}
    for index, question in enumerate(questions):
        assert question is not None  # noqa: S101  (waiting)
        groups.setdefault((id(question.model), question.method), []).append(index)
    answers: dict[int, _Answer] = {}
    for (_, method), members in groups.items():
        asked: list[Any] = [questions[m] for m in members]
        found = None
        if len(asked) > 1 and method in _BATCHES:
            found = _batched(asked, *_BATCHES[method])
        found = found or [question.asked() for question in asked]
        answers |= dict(zip(members, found, strict=True))
    return [answers[index] for index in range(len(questions))]


def _batched(
    questions: Sequence[_Question],
    join: Callable[[Sequence[_Question]], tuple[np.ndarray, ...]],
    split: Callable[[Any, Sequence[int]], list[Any]],
) -> list[_Answer] | None:
    """Answers from one call; None where it fails, for the questions to be asked one by one."""
    edges = [0, *accumulate(len(question.arguments[0]) for question in questions)]
    try:
        found = getattr(questions[0].model, questions[0].method)(*join(questions))
    except Exception:
        return None
    return [_Answer(part, None) for part in split(found, edges)]


def _join_occupations(questions: Sequence[_Question]) -> tuple[np.ndarray, ...]:
    return (np.concatenate([question.arguments[0] for question in questions]),)


def _join_changes(questions: Sequence[_Question]) -> tuple[np.ndarray, ...]:
    """Occupations, sites and species, the changes padded by −1 to the widest."""
    width = max(np.shape(question.arguments[1])[1] for question in questions)

    def wide(columns: np.ndarray) -> np.ndarray:
        missing = width - columns.shape[1]
        return np.pad(columns, ((0, 0), (0, missing)), constant_values=-1) if missing else columns

    sites, species = (
        np.concatenate([wide(np.asarray(question.arguments[k])) for question in questions])
        for k in (1, 2)
    )
    return (*_join_occupations(questions), sites, species)


def _split_array(found: Any, edges: Sequence[int]) -> list[Any]:
    values = np.asarray(found)
    return [values[first:last] for first, last in pairwise(edges)]


def _split_pair(found: Any, edges: Sequence[int]) -> list[Any]:
    return list(zip(*(_split_array(part, edges) for part in found), strict=True))


_BATCHES: dict[str, tuple[Any, Any]] = {
    "energy": (_join_occupations, _split_array),
    "energy_and_gradient": (_join_occupations, _split_pair),
    "energy_change": (_join_changes, _split_array),
}


def _closed() -> threading.Lock:
    """Return a lock that opens when another thread releases it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Pool(NamedTuple):
    process: int
    executor: ThreadPoolExecutor


_pools: list[_Pool] = []


def _pool() -> ThreadPoolExecutor:
    """Threads kept from one call to the next, as many as wait at once.

    A forked process inherits the pool without its threads, and makes its own.
    """
    if not _pools or _pools[0].process != os.getpid():
        executor = ThreadPoolExecutor(100_000, thread_name_prefix="alchemc-together")
        _pools[:] = [_Pool(os.getpid(), executor)]
    return _pools[0].executor
