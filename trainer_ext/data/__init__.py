"""Reading, checking, tokenising and collating rows."""
