"""Compiled evaluation of MACE at occupations: node by node, layer by layer, table by table."""
