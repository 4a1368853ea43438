"""Every cap of inspecting, adopting, auditing, rebuilding and bundles; see ``limits``."""

from __future__ import annotations

from typing import Final

from sealstore.limits import GIB, KIB, MIB

# ── inspection ───────────────────────────────────────────────────────────────

MAX_IMPORTS: Final = 10_000
"""Names that a payload may import: a statement with all of them still fits its cap."""

MAX_ARGUMENT_LISTS_A_NAME: Final = 32
"""Different argument lists that an inspection keeps for one use of one name. A policy that judges
arguments refuses a name with more."""

MAX_ARGUMENT_LISTS: Final = 10_000
"""Different argument lists that an inspection keeps for one payload, over all names."""

MAX_SHOWN_ARGUMENTS: Final = 8
"""Arguments of one call that an inspection shows."""

MAX_SHOWN_CHARACTERS: Final = 100
"""Characters of a string argument that an inspection shows: names and paths fit."""

MAX_PATTERN_CHARACTERS: Final = 1_000
"""Characters of a regular expression that is trusted to be compiled: at its worst (classes of all
letters, whatever their case) that takes a second."""

MAX_ARRAY_KINDS: Final = 1_000
"""Different pairs of dtype and shape that an inspection lists."""

MAX_IMPORT_CHARACTERS: Final = 1_000
"""Characters of a module's or a qualified name: generated classes have the longest, some 200."""

MAX_IDLE_NAMES: Final = 512
"""Stand-ins that are kept for the next inspection, at some 4 KiB each: all that most sites meet."""

INSPECTION_MEMORY_BYTES: Final = 4 * GIB
"""Bytes of address space that the inspection of bytes without a signature may take, beyond the
payload itself: the objects of a payload of some hundred MB, or 4 GiB of decompressed arrays."""

INSPECTION_CPU_SECONDS: Final = 300
"""Seconds of CPU that such an inspection may take: decompressing 4 GiB takes less than 100."""

INSPECTION_SECONDS: Final = 900
"""Seconds by the clock that such an inspection may take, on a machine that is busy otherwise."""

MAX_INSPECTION_REPORT_BYTES: Final = 64 * MIB
"""Bytes of such an inspection's report: all names and argument lists that their caps allow."""

MAX_POLICY_NAME_CHARACTERS: Final = 2 * MAX_IMPORT_CHARACTERS + 1
"""Characters of a ``module:qualname``: what an inspection lets pass."""

# ── adoption and rebuilding ──────────────────────────────────────────────────

MAX_MAPPING_BYTES: Final = 16 * MIB
"""Bytes of the TOML file that says names and tags of files to adopt: some 100,000 of them."""

MAX_REBUILT_ENTRIES: Final = 20_000_000
"""Entries of a history that is rebuilt: a forged sequence must not make one without an end."""

# ── what leaves a repository for auditors ────────────────────────────────────

MAX_CHECKPOINT_BYTES: Final = 64 * KIB
"""Bytes of a checkpoint: its few lines and the signatures of many witnesses (nearly 5 kB each, if
they are post-quantum)."""

MAX_PROOF_BYTES: Final = 256 * KIB
"""Bytes of the proof of an entry: the largest entry and head in base64, and 63 hashes."""

MAX_NOTE_SIGNATURES: Final = 64
"""Signatures of a checkpoint: C2SP asks for at least 16."""

# ── bundles ──────────────────────────────────────────────────────────────────

MAX_BUNDLE_ARTIFACTS: Final = 10_000
"""Artifacts of one bundle: more than anybody carries to another site at once."""

MAX_BUNDLE_INDEX_BYTES: Final = 32 * MIB
"""Bytes of a bundle's index: some 3 kB for each of its artifacts, with the longest names."""

MAX_BUNDLE_EVIDENCE_BYTES: Final = 256 * MIB
"""Bytes of all that a bundle holds beside index and payloads, which is read into memory at once:
25 kB for each artifact."""

MAX_BUNDLE_KEYS_BYTES: Final = 1 * MIB
"""Bytes of the public keys that a bundle carries as hints."""

MAX_PROOF_HASHES: Final = 64
"""Hashes of an inclusion or a consistency proof: a tree of 2^63 entries needs no more."""
