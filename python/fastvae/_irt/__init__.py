"""Item response theory on arrays: answers, abilities, item parameters, item fit."""
