"""The host of the Key Manager: what its audit log tells of the master key, the configuration and the database."""
