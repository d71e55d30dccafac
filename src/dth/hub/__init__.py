"""The hub: tasks, their lifecycle and schedules, users and their roles, monitoring. Independent of
any platform."""
