"""
Represented strongly is not computed well
=========================================

A network is trained to report several features of its input equally well. Which of them fill its representation? The
easy ones: variance, and with it every RDM, tells how simple a feature was rather than how well it is used (Lampinen,
Chan & Hermann 2024; Lampinen et al. 2025).
"""

# %%
# Four features of independent random bits: one is a copy of a bit, one the exclusive or of two, one the parity of four.
from neuro.rsa import compare, feature_bias, rdm, train_bias_network

tasks = {"linear": "linear", "xor": "xor", "parity": "parity4"}
network = train_bias_network(tasks, steps=1500, n_hidden=64, rng=0)
print(network.history.groupby("feature")["accuracy"].last().round(2).to_dict())

# %%
# All are reported; but the linear one takes most of the variance of the last hidden layer.
found = feature_bias(network.hidden()[-1], network.factors, rng=0)
print(found.table[["factor", "r2", "linear", "nonlinear", "dissociation"]].round(2).to_string(index=False))

# %%
# So an RDM of the layer looks like the RDM of the easy feature.
layer = rdm(network.hidden()[-1], "sqeuclidean")
for name in tasks:
    alone = rdm(network.factors[[name]].to_numpy(float), "sqeuclidean")
    print(f"{name:<8} {compare(layer, alone, 'corr')[0, 0]:.2f}")
