"""Run untrusted code in a limited subprocess."""
