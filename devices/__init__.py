"""Measuring finished artifacts where they run: takes an artifact folder, never a model."""

from ssmith.devices.bench import bench as bench
from ssmith.devices.target import Plan as Plan
from ssmith.devices.target import Target as Target
