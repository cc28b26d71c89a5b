"""One module for each command; `add` describes it, and only running it imports what is heavy."""
