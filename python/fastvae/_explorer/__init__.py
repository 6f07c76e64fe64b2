"""The latent explorer: one HTML file with a decoder in JavaScript and a map of codes.

``source`` holds the model, the examples and their codes. ``labels``, ``dimensions``, ``names`` and ``view`` say what
the page shows of them. ``program`` translates the decoder, ``encoding`` packs arrays and images, ``document`` fills the
template. The page itself is in ``page/``: a template, a style sheet and scripts, which are joined in the order of
``document.SCRIPTS``.
"""
