"""The AWS deployment: templates, what runs in functions and on machines, and how it gets there."""

PYTHON = "3.13"  # of functions, and of the package that machines take from Amazon Linux
MAX_HUB_NAME = (
    19  # characters of the hub's stack: in names of roles CloudFormation cuts a stack's name after 24
)
CONTAINERS = 10  # that copy images of one task at the same time
