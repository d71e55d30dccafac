"""The AWS deployment: templates, what runs in functions and on machines, and how it gets there."""

PYTHON = "3.13"  # of functions, and of the package that machines take from Amazon Linux
CONTAINERS = 10  # that copy images of one task at the same time
