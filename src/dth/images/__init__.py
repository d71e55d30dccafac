"""The plugin for images: from any registry to Amazon ECR or any other."""
