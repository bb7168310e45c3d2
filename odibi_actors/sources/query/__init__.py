"""Tables and queries of databases: ``mode: incremental`` with a ``watermark_column``. ``watermarks`` gives values an
order in bytes, ``marks`` says how far one was read, ``statements`` writes the SQL, ``cutting`` makes pieces that fit,
``probe`` looks, ``reader`` reads pieces in a worker. What differs from database to database is in its dialect."""
