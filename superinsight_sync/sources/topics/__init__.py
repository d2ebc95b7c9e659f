"""Message logs read as pull sources: the columns of messages, and reads from a position to the end."""
