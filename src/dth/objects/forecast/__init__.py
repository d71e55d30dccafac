"""How much a task has to do, how long it takes and what it costs."""
