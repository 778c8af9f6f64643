"""Machines that QEMU emulates: the program that stands before it, and what a run's machine showed."""

from app.run.machine.monitor import Monitor, reported
from app.run.machine.standin import StandIn, stand_in

__all__ = ["Monitor", "StandIn", "reported", "stand_in"]
