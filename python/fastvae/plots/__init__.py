"""Plots of a model and its latent space, drawn with matplotlib (``pip install 'fastvae-cpu[plot]'``).

Every function draws into the given axes, or into a new pyplot figure, and returns the axes. Unless stated otherwise, a
model is any object that :mod:`fastvae.latent` accepts. Latent dimensions are counted from 0: z[0] is the first. Images
are rows [n, d] with ``shape`` (height, width) or (height, width, 3), which is optional for grey squares; uint8 in
0..255, or floats that are clipped to 0..1.
"""

from fastvae.plots._codes import kl_per_dimension, latent_ellipses, latent_scatter, three_objectives
from fastvae.plots._exams import abilities, item_characteristic
from fastvae.plots._images import attribute, conditions, images, interpolation, manifold, reconstructions, traversal
from fastvae.plots._topics import document_map, n_topics, topics
from fastvae.plots._training import learning_curve

__all__ = [
    "abilities",
    "attribute",
    "conditions",
    "document_map",
    "images",
    "interpolation",
    "item_characteristic",
    "kl_per_dimension",
    "latent_ellipses",
    "latent_scatter",
    "learning_curve",
    "manifold",
    "n_topics",
    "reconstructions",
    "three_objectives",
    "topics",
    "traversal",
]
