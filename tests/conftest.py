"""What holds for all tests."""

from hypothesis import settings

# How long an example takes depends on what else this machine does: no test asserts time.
settings.register_profile("odibi", deadline=None)
settings.load_profile("odibi")
