"""A third kind of task, in one folder: it says lines of text. Nothing outside knows of it."""
