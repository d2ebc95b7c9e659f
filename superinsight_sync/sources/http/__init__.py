"""APIs over HTTP: one client, one way through pages, one way from JSON records to rows."""
