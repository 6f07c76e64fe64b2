"""Tables of mixed columns: reading of frames, kinds of columns, encoding for the engine and back."""
