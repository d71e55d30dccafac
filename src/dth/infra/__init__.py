"""The AWS deployment: templates, and how they and the code get there."""

PYTHON = "3.13"  # of functions, and of the package that machines take from Amazon Linux
# Characters of the hub's stack. CloudFormation cuts a stack's name after 24 in the names of roles.
MAX_HUB_NAME = 19
