"""The hub: tasks, their lifecycle and schedules, users and their rights, monitoring. Knows no platform."""
