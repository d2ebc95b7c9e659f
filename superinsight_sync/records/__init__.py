"""Records as they come (text, JSON, CSV, BSON, messages) made into Arrow; and what cannot be read, with its reason."""
