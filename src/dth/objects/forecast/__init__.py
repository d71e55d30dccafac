"""How much there is to do, how long it takes and what it costs."""
