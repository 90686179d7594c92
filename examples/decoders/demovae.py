"""
Synthetic brains of a chosen age and sex, and real ones with both taken out
===========================================================================

Functional connectivity of simulated people: age and sex each change some connections, hidden traits others. DemoVAE
learns a latent space that is white and knows neither age nor sex. From it, data are generated for any age and sex, and
read by linear models that were fitted to real data and saw no generated one; and confounds are removed by decoding
everybody at the same age and sex.
"""

# %%
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict

from neuro.decoders.demovae import DemoVAE

rng = np.random.default_rng(0)
n, n_regions, n_traits = 500, 12, 4
rows, columns = np.triu_indices(n_regions, 1)
age, sex = rng.uniform(8, 22, n), rng.choice(["F", "M"], n)
traits = rng.standard_normal((n, n_traits))
pattern = {name: rng.standard_normal(len(rows)) for name in ("age", "sex")}
x = 0.15 * ((age - 15) / 4)[:, None] * pattern["age"] + 0.1 * np.where(sex == "M", 1, -1)[:, None] * pattern["sex"]
x = np.tanh(x + 0.12 * traits @ rng.standard_normal((n_traits, len(rows))) + 0.1 * rng.standard_normal((n, len(rows))))
print(f"{n} people, {len(rows)} connections of {n_regions} regions")

# %%
# A small network and few epochs; the published sizes are the defaults.
model = DemoVAE(
    n_latent=8, width=100, n_epochs=300, batch_size=500, learning_rate=3e-3, weights={"whiteness": 30.0}, scale="global"
)
model.fit(x[:400], {"age": age[:400], "sex": sex[:400]})
print({k: round(v, 3) for k, v in model.history_[-1].items()})
z = model.latent(x[400:])
known = [max(abs(np.corrcoef(z.T, d[400:])[-1, :-1])) for d in (age, sex == "M")]
print(f"held-out people, greatest |r| of a latent with age {known[0]:.2f}, with sex {known[1]:.2f} (100 people)")

# %%
# Generate people of chosen age and sex, and let the frozen models read them.
wanted = {"age": np.tile([9.0, 15.0, 21.0], 100), "sex": np.repeat(["F", "M"], 150)}
generated = model.sample(wanted)
read = model.guidance_.read(generated)
for a in (9.0, 15.0, 21.0):
    print(f"asked for age {a:.0f}: read {read['age'][wanted['age'] == a].mean():.1f}")
print(f"sex read rightly: {(read['sex'].to_numpy() == wanted['sex']).mean():.0%}")
older = generated[wanted["age"] == 21].mean(0) - generated[wanted["age"] == 9].mean(0)
print(f"connections that change with age: r = {np.corrcoef(older, pattern['age'])[0, 1]:.2f} with those planted")

# %%
# Take age and sex out of people the model has not seen, and try to find them again by cross-validation; a trait stays.
clean = model.remove_confounds(x[400:])
for name, data in (("as measured", x[400:]), ("confounds removed", clean)):
    found_age = np.corrcoef(cross_val_predict(Ridge(1.0), data, age[400:], cv=5), age[400:])[0, 1]
    found_sex = (cross_val_predict(LogisticRegression(max_iter=500), data, sex[400:], cv=5) == sex[400:]).mean()
    trait = np.corrcoef(cross_val_predict(Ridge(1.0), data, traits[400:, 0], cv=5), traits[400:, 0])[0, 1]
    print(f"{name:<18} age r = {found_age:.2f}, sex {found_sex:.0%} right, hidden trait r = {trait:.2f}")
