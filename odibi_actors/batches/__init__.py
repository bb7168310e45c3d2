"""Batches: Arrow tables as bytes, inline in a message or in the spool, and their edges to pandas and polars."""
