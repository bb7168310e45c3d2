"""Files that grow: ``mode: incremental``. ``places`` says how far one was read and by what it is known again, ``lines``
where a row ends, ``cutting`` makes pieces that fit, ``probe`` looks at files, ``reader`` reads pieces in a worker."""
