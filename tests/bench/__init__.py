"""Benchmarks against a real broker: `./dev bench`."""
