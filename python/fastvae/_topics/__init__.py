"""Topics: their prior, measures of them and whether they have collapsed; arrays in, arrays out."""
