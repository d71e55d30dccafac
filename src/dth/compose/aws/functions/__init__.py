"""The functions of the deployment, by their purpose."""
