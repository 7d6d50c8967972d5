"""Experiments: planned, run, resumed."""

from jaxbench.sweeps.plan import Plan, make_plan
from jaxbench.sweeps.run import Listener, sweep

__all__ = ["Listener", "Plan", "make_plan", "sweep"]
