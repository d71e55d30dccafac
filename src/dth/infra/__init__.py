"""The AWS deployment: templates, and how they and the code get there."""

# Of functions, and of the Amazon Linux package on machines.
PYTHON = "3.13"
# The most characters of the hub's stack name. CloudFormation truncates it to 24 in the names of
# roles.
MAX_HUB_NAME = 19
