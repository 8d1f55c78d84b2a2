"""Concentration waves: which ordering a disordered crystal is unstable to, without sampling."""
