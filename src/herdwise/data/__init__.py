"""What ships with the package, each with source, licence and recipe."""
