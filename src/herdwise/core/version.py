"""The version, for the package, its manifests and its command line."""

__version__ = "0.1.0"
