"""Emulated machines: the stand-in for QEMU, and the events that its report makes."""

from app.run.machine.monitor import Monitor, reported
from app.run.machine.standin import StandIn, stand_in

__all__ = ["Monitor", "StandIn", "reported", "stand_in"]
