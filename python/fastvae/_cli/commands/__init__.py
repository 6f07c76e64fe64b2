"""The commands: each module has USAGE, EPILOG, ``add(parser)`` and ``run(options)``."""
