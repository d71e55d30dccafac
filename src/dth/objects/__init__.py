"""The plugin for objects: from any S3-compatible store to any other store."""
