"""Other people's databases: catalogues, types, sessions, errors, and the guard of users' SQL."""
