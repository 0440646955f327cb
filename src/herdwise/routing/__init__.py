"""Situation -> Step: policies, and the Router that joins encoder, predictors and policy."""
