"""Lattices: which sites of a crystal may hold which species."""
