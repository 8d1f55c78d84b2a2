"""The recipe of the bundled potential: sampling, labelling, training and evaluation.

``python -m alchemc.potentials.training --help`` runs it (extra ``train``).
"""
