"""kmwatch: who read this secret, and should they have? A watch over OpenStack's Key Manager."""

__version__ = "0.1.0"
