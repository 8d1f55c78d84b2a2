"""Solid solutions along a composition: lattice parameters, and compositions for a target."""
