"""Records as they come, as text, JSON, CSV, BSON or messages, made into Arrow; and what cannot be read, with its reason."""
