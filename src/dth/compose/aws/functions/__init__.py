"""The functions of the deployment, by what they serve."""
