"""Kinds: what a package may bring by an entry point, such as a format of files. Protocols and the registry, no kind."""
