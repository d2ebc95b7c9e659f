"""The HTTP door: customers' systems push here. It takes, checks, stores and answers; it lands nothing."""
