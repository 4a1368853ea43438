"""The attack corpus: malicious and harmless files, made by a script and never kept.

`attacks` and `benign` list them; `proving` shows with stock joblib that the malicious ones do what
they claim. Everything that an attack does is to leave an empty file in its working folder, or to
exhaust or crash a process that runs under limits.
"""
