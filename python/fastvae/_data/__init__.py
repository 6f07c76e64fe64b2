"""Input validation: converts user data to the arrays that the engine reads."""
