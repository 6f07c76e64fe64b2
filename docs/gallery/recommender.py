"""
Recommendations from clicks
===========================

``Recommender`` learns from clicks which items go together. While it trains, the weight of the KL rises, and the epoch
with the best ranking of hidden clicks is kept. Its items, here of six genres, have vectors that tell the genres apart.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastvae

rng = np.random.default_rng(0)
users, items, genres = 2000, 150, 6
genre = np.arange(items) % genres
popularity = 1 / (1 + np.arange(items)) ** 0.6
taste = rng.dirichlet(np.full(genres, 0.15), size=users)
share = taste[:, genre] * popularity
chance = share / share.sum(1, keepdims=True)
X = np.array([rng.multinomial(25, p) > 0 for p in chance], np.float32)

model = fastvae.Recommender(16, hidden=(64,), epochs=60, random_state=0).fit(X)
curve = np.array(model.history_["val_ndcg@100"])
weight = np.arange(1, len(curve) + 1) / 60

# %%
# On the left, the measure of the validation users by the weight of the KL; on the right, the two main directions of the
# items' vectors, coloured by genre. Larger points are more popular items.
vectors = model.item_embeddings_ / np.linalg.norm(model.item_embeddings_, axis=1, keepdims=True)
_, _, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
x, y = directions[:2] @ vectors.T

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot(weight, curve)
left.plot(weight[model.best_epoch_ - 1], curve.max(), "o", label="the epoch that is kept")
left.set(xlabel="weight of the KL", ylabel="NDCG@100, validation users")
left.legend(frameon=False)
right.scatter(x, y, c=genre, cmap="Dark2", s=15 + 0.15 * model.popularity_, alpha=0.8)
right.set(title="items by genre", xticks=[], yticks=[])
plt.show()

# %%
# The best new items of a user with one genre are of this genre.
user = int(np.argmax(taste.max(1)))
best, _ = model.recommend(X[user : user + 1], n=8)
print("genre of the user:", int(np.argmax(taste[user])))
print("genres of the recommended items:", genre[best[0]])
