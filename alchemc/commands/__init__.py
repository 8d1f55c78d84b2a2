"""Commands of the command line, thin functions; what they need is imported when they are called.

A new one is a function in a module here and a line in ``alchemc.cli``.
"""
