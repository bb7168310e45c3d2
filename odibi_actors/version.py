"""The version of the package, in a file that imports nothing: messages bear it."""

__version__ = "0.1.0"
