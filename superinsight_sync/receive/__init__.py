"""What a delivery must be before it is taken: signature, size, syntax. Nothing of HTTP is here."""
