"""`kmwatch learn`: a caller map proposed from history, or what differs between history and the declared map."""
