"""Learning a caller map from history: what was read by whom, grouped as a person would group it. Pure.

history -> family (names that are one kind of secret) -> place (where callers live) -> propose -> a map with support
"""
