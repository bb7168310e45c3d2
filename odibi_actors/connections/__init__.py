"""Kinds of connections (see ``kinds.connection``)."""
