"""Names in SQL."""


def quote(name: str) -> str:
    """A name, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'
