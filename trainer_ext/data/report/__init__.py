"""What labelled files hold, for people to read before they train."""
