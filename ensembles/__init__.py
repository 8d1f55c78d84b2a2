"""What is sampled: target densities over occupations."""

from .canonical import Canonical

__all__ = ["Canonical"]
