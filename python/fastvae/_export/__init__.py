"""Fitted networks for other programs: a description as plain operations, and the formats that are written from it."""
