"""Emulated machines: the stand-in for QEMU, and the events that its report makes."""

from app.run.machine.monitor import Monitor, report_path
from app.run.machine.standin import StandIn, stand_in

__all__ = ["Monitor", "StandIn", "report_path", "stand_in"]
