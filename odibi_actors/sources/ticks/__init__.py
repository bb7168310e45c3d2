"""Sources that are polled: a clock of ticks, the poll of one, and a log of what was read at each."""
