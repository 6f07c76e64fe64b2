"""Item response theory: answers, abilities and tasks; arrays in, arrays out."""
