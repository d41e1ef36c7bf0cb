"""The adapters for AWS: the only modules that import an SDK."""
