"""The secret inventory: what the Key Manager holds, read from files or from its own database.

Nothing here knows the configuration: it hands out secrets, and what is wrong in plain words with the line it is on.
"""
