"""The model card: what the bundled potential is, where it comes from and what it is worth."""

from __future__ import annotations

from typing import Any

__all__ = ["model_card"]


def model_card(card: dict[str, Any], notice: str) -> str:
    """Return the card of a published model as Markdown."""
    training, validation = card["training"], card["validation"]
    lines = [
        f"# {card['name']}",
        "",
        f"A small ScaleShiftMACE for {card['covers']}: {', '.join(card['elements'])}.",
        f"Not for {card['not_for']}.",
        "",
        "## Origin",
        "",
        "Distilled from CHGNet 0.3.0 by `python -m alchemc.potentials.training all --work DIR`",
        "(held-out list, seeds and hyperparameters are in that folder and in `model.json`).",
        f"{training['n_training']} labelled configurations: random orderings at ideal and rattled",
        "positions, strained and sheared by up to 5 % (8 % for rock salt), frames of relaxations",
        "and of Langevin dynamics at 600–2,000 K by the teacher and by an earlier student.",
        f"Last stage: {training['steps']} updates. The loss holds energies, forces, stresses and",
        "energy differences between arrangements of the same cell.",
        "",
        "Root mean square errors on groups of configurations that were not trained on:",
        f"energy {validation['energy']:.1f} meV/atom, forces {validation['forces']:.0f} meV/Å,",
        f"stress {validation['stress']:.2f} GPa, ordering {validation['ordering']:.1f} meV/atom.",
        "",
        *_domain(card.get("domain")),
    ]
    for which, results in card["evaluation"].items():
        lines += [f"## {which.capitalize()} set", ""]
        lines += _swap_table(results["swaps"])
        if results["relaxed"]:
            lines += _ordering_table(results["relaxed"])
    lines += ["## The teacher's notice", "", "```", notice.strip(), "```", ""]
    return "\n".join(lines)


def _domain(domain: dict[str, Any] | None) -> list[str]:
    if not domain:
        return []
    low, high = domain["energy"]
    return [
        f"Trained on energies from {low:.2f} to {high:.2f} eV per atom above the references",
        f"in `model.json` and on force components up to {domain['force']:g} eV/Å;",
        "alchemc flags what lies outside.",
        "",
    ]


def _swap_table(swaps: dict[str, Any]) -> list[str]:
    lines = [
        "Swap energies against the teacher; half of the swaps at ideal positions, half displaced.",
        "Slope of the student on the teacher through the origin; spread is the standard deviation",
        "of the teacher's swap energies; ordering is the RMS error between arrangements of a cell.",
        "",
        (
            "| system–atoms | swaps | slope | r | MAE (eV) | MAE/spread | ordering (meV/atom) "
            "| forces (meV/Å) | stress (GPa) |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {m['n_swaps']} | {m['slope']:.2f} | {m['correlation']:.3f} | {m['mae']:.3f} "
        f"| {100 * m['mae_over_spread']:.0f} % | {m['ordering']:.1f} | {m['forces']:.0f} "
        f"| {m['stress']:.2f} |"
        for name, m in swaps.items()
    ]
    return [*lines, ""]


def _ordering_table(relaxed: dict[str, Any]) -> list[str]:
    lines = [
        "Ordering energies of the 2×2×2 cell (mean over all arrangements minus rock salt, eV per",
        "A2BB'O6), ideal and relaxed from displaced references, each model at its own lattice",
        "parameter; *lowest* says whether rock salt is the lowest of the six arrangements.",
        "",
        (
            "| system | a teacher, student (Å) | ideal teacher, student "
            "| relaxed teacher, student | lowest ideal | lowest relaxed |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, r in relaxed.items():
        verdict = {
            where: " / ".join(
                "rock salt" if r[f"{where}_{who}_lowest"] == 0 else "other"
                for who in ("teacher", "student")
            )
            for where in ("ideal", "relaxed")
        }
        lines.append(
            f"| {name} | {r['a_teacher']:.3f}, {r['a_student']:.3f} "
            f"| {r['ideal_teacher']:.3f}, {r['ideal_student']:.3f} "
            f"| {r['relaxed_teacher']:.3f}, {r['relaxed_student']:.3f} "
            f"| {verdict['ideal']} | {verdict['relaxed']} |"
        )
    return [*lines, ""]
