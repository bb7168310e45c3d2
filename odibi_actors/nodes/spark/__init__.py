"""Spark as an engine of nodes: ``engine: spark``. Nothing here imports pyspark before a node asks for it.

``host``: one Spark for all workers of this user on this host, in a process of its own. ``finding``: how a worker finds
it, or starts it. ``runner``: what a worker does with it. ``tables``: Arrow tables as Spark's, and back.
"""
