"""Models of generated data as people have it, and what must hold for each.

A set-up is drawn from a family and a seed: data, container, estimator, options. `make test` runs 2,000; more with
``FASTVAE_MODELS=20000``, or with ``python -m generated`` in the folder of the tests, which also repeats a single one:

    python -m generated reals 1234
"""
