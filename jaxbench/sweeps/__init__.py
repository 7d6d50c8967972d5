"""Experiments: planned, run, resumed."""

from jaxbench.sweeps.jobs.protocol import Plan
from jaxbench.sweeps.listener import Listener, combined
from jaxbench.sweeps.plan import find_job, make_plan
from jaxbench.sweeps.run import sweep

__all__ = ["Listener", "Plan", "combined", "find_job", "make_plan", "sweep"]
