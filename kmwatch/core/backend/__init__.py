"""What the HSM or the store behind the Key Manager served, held against what the API asked for."""
