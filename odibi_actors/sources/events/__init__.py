"""Sources that are pushed to: a log of events, what its source actor takes into it, and what is read of it."""
