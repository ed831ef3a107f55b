"""Settings of Hypothesis for all tests, those of plugins too: slowness is the machine's, and fails no test. Those that
promise a time measure it themselves."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")
