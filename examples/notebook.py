"""A notebook's day with sealstore: train, store, list, load, give it an alias, compare tags.

Run it as a script (``python examples/notebook.py``), or cell by cell in an editor that knows the
``# %%`` marks. It needs scikit-learn: ``pip install 'sealstore[demo]'``. Everything happens in a
temporary folder, with a key of its own; your own repository and keyring are not touched.
"""

# %% A repository to play with
# At work this cell is one line, ``repository = Repository.open()``, once ``sealstore init`` has
# made the repository and a key. Here both are made on the spot, and thrown away at the end.
import tempfile
from pathlib import Path

from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sealstore import ArtifactNotFound, Keyring, Repository
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.repository.settings import Settings, Variable

scratch = tempfile.TemporaryDirectory(prefix="sealstore-notebook-")
here = Path(scratch.name)
keyring = Keyring.of([new_key(HmacSha256.generate())])
# What this client remembers of the repository (its trust state) goes to the same folder.
settings = Settings.from_environment({Variable.TRUST_STATE: str(here / "trust")})
repository = Repository.create(here / "models", keyring=keyring, settings=settings)
print(f"repository {repository.id}")

# %% Train: October's model, then November's
inputs, labels = make_classification(n_samples=2_000, n_features=12, random_state=7)
train_in, test_in, train_out, test_out = train_test_split(inputs, labels, random_state=7)
october = LogisticRegression(C=0.001).fit(train_in, train_out)
november = LogisticRegression(C=1.0).fit(train_in, train_out)

# %% Store
# Two calls, and each object is serialised, inspected, signed and recorded. The metadata is signed,
# too, so that a score cannot be prettified afterwards.
for tag, model in (("2026-10", october), ("2026-11", november)):
    accuracy = model.score(test_in, test_out)
    stored = repository.store(model, "churn", tag, metadata={"accuracy": round(accuracy, 4)})
    print(f"stored {stored.ref}: {stored.size:,} bytes, sha256 {stored.digests.sha256[:16]}…")

# Storing a tag again makes its next revision; the one before stays.
again = repository.store(
    november, "churn", "2026-11", metadata={"accuracy": 0.9, "retrained": True}
)
print(f"stored {again.ref}")

# %% List
# Each artifact in the list is verified. A row that somebody tampered with is not hidden: it stands
# in ``page.refused``, with the reason.
page = repository.list(name="churn")
for artifact in page.artifacts:
    print(f"  {artifact.ref}  {artifact.created}  {dict(artifact.metadata)}")
assert not page.refused

# %% Load
# Verified first, unpickled afterwards, from the same memory. Without a tag: what was stored last.
model = repository.load("churn", "2026-10")
assert (model.predict(test_in) == october.predict(test_in)).all()
first_revision = repository.load("churn", "2026-11", revision=1)
newest = repository.load("churn")
print(f"loaded 3 models; the newest scores {newest.score(test_in, test_out):.3f}")

# %% Alias
# "production" means one revision until somebody moves it. Whoever loads it need not know the tag.
repository.set_alias("churn", "production", "2026-10")
repository.set_alias("churn", "production", "2026-11", revision=1)
[alias] = repository.aliases("churn")
print(f"{alias.alias} means {alias.tag}@{alias.revision}, after {alias.move} moves")
in_production = repository.load("churn", "production")
assert (in_production.predict(test_in) == november.predict(test_in)).all()

repository.rollback_alias("churn", "production")
for move in repository.alias_history("churn", "production"):
    print(f"  {move.at}  {move.event}  {move.details['tag']}  by {move.by.user}")

# %% Compare two tags
# ``get`` returns the verified statement without loading anything: cheap, and safe for an object
# that you would not load.
old, new = repository.get("churn", "2026-10"), repository.get("churn", "2026-11")
for what, before, after in (
    ("revision", old.revision, new.revision),
    ("metadata", dict(old.metadata), dict(new.metadata)),
    ("bytes", old.size, new.size),
    ("sha256", old.digests.sha256[:16], new.digests.sha256[:16]),
    ("packages", dict(old.packages), dict(new.packages)),
    ("imports", len(old.imports), len(new.imports)),
):
    print(f"  {what:<9} {'same' if before == after else f'{before} -> {after}'}")

# The two objects themselves: which coefficients moved most?
moved = abs(repository.load("churn", "2026-11").coef_ - model.coef_)[0]
print(f"  largest change of a coefficient: {moved.max():.3f} (input {moved.argmax()})")

# %% What is not there is an error that says so
try:
    repository.load("churn", "2027-01")
except ArtifactNotFound as error:
    print(f"{error.code}: {error.message}")

# %% Done
repository.close()
scratch.cleanup()
