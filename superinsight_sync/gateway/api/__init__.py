"""The control API: tokens, deliveries, sources and keys, for who has a key. What pushes data in is not here."""
