"""Every cap, with its unit and its reason. Nothing else in sealstore hides a limit."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# ── names ────────────────────────────────────────────────────────────────────

MAX_NAME_CHARACTERS: Final = 128
"""Characters of a name or tag: longer ones are mistakes, and tables of them unreadable."""

MAX_NAME_BYTES: Final = 255
"""UTF-8 bytes of a name or tag: the longest path segment of common file systems."""

# ── signed documents ─────────────────────────────────────────────────────────

MAX_METADATA_BYTES: Final = 64 * KIB
"""Bytes of the user's metadata as JSON: it is read on each load, so it must stay small."""

MAX_STATEMENT_BYTES: Final = 4 * MIB
"""Bytes of a statement: metadata, packages and some 10,000 imports with room to spare."""

MAX_ENVELOPE_BYTES: Final = 6 * MIB
"""Bytes of an envelope: base64 of the largest statement plus its wrapping."""

MAX_JSON_DEPTH: Final = 64
"""Nesting of signed JSON. Deeper documents exist only to overflow a parser's stack."""

MAX_ACTOR_CHARACTERS: Final = 256
"""Characters of user, host and actor."""

MAX_SETTINGS_BYTES: Final = 1 * MIB
"""Bytes of repository.json."""

MAX_APPROVALS: Final = 16
"""Approvals that a protected alias may need: more people than ever agree in time."""

MAX_APPROVAL_BYTES: Final = 4 * KIB
"""Bytes of what an approval signs: four names of ``MAX_NAME_BYTES`` and two digests, with room."""

MAX_APPROVAL_ENVELOPE_BYTES: Final = 8 * KIB
"""Bytes of an approval's envelope: base64 of the largest with its wrapping."""

# ── keys ─────────────────────────────────────────────────────────────────────

MAX_KEYRING_BYTES: Final = 4 * MIB
"""Bytes of a keyring file: thousands of keys."""

MIN_HMAC_KEY_BYTES: Final = 32
"""Bytes of an HMAC-SHA256 key: 256 bits, the size of the hash (RFC 2104, section 3)."""

MAX_HMAC_KEY_BYTES: Final = 1024
"""Bytes of an HMAC key: anything longer is another file by mistake."""

# ── payloads ─────────────────────────────────────────────────────────────────

MAX_PAYLOAD_BYTES: Final = 1 << 40
"""Bytes of a payload (1 TiB). A signed size above it is refused before memory is taken."""

PARALLEL_HASH_BYTES: Final = 16 * MIB
"""Payloads from this size on are read and hashed by two threads side by side. Smaller ones take a
few milliseconds, which a thread that has to wait for a busy processor does not save."""

MANY_THREADS_BYTES: Final = 64 * MIB
"""Payloads from this size on have their BLAKE3 digest computed by several threads."""

MAX_HASH_THREADS: Final = 4
"""Threads that compute one BLAKE3 digest: from there on the memory is slower than they are."""

READ_CHUNK_BYTES: Final = 4 * MIB
"""Bytes that are read before they are handed to the hash: fits a core's cache several times over
and keeps the two threads' hand-overs rare."""

HASH_CHUNK_BYTES: Final = 1 * MIB
"""Bytes that are read, and hashed by the same thread, where a payload is only checked: what was
read is still in the core's cache when it is hashed."""

ANONYMOUS_MAP_BYTES: Final = 8 * MIB
"""Payloads from this size on are read into an anonymous mapping (page-aligned, returned to the
system at once). Smaller ones go into a bytearray: a process that loads again and again gets the
same memory back, and pays for no fresh pages, which cost more than hashing what is in them."""

# ── the pickle engine ────────────────────────────────────────────────────────

MAX_DECOMPRESSED_BYTES: Final = 64 * GIB
"""Bytes that a compressed payload may become in memory."""

ANY_RATIO_BYTES: Final = 256 * MIB
"""Bytes that a compressed payload may always become, however small it is: an array of zeros is no
bomb while it fits any process."""

MAX_DECOMPRESSION_RATIO: Final = 2_000
"""Decompressed bytes for each stored byte, beyond ANY_RATIO_BYTES: zlib cannot exceed 1,032; bz2
and xz of constant arrays do, and are then written better uncompressed."""

MAX_LZMA_MEMORY_BYTES: Final = 128 * MIB
"""Bytes that an lzma or xz file may ask for its dictionary: preset 9, the largest, needs 65 MiB."""

MAX_ARRAY_DIMENSIONS: Final = 64
"""Dimensions of an array: numpy 2 knows no more."""

MAX_ARRAY_LENGTH: Final = 2**63 - 1
"""Elements of an array in one dimension: numpy counts them in 64 bits."""

ARRAY_VIEW_BYTES: Final = 32 * KIB
"""Arrays from this size on are views of the payload's memory; smaller ones are copied, so that they
do not hold the whole payload."""

# ── the policy ───────────────────────────────────────────────────────────────

MAX_POLICY_BYTES: Final = 1 * MIB
"""Bytes of a policy.toml: thousands of entries."""

# ── catalogue ────────────────────────────────────────────────────────────────

DATABASE_BUSY_SECONDS: Final = 60
"""Seconds that a writer waits for the database before it gives up with an error."""

MAX_SEQUENCE: Final = (1 << 63) - 1
"""The largest revision and sequence number: what every database holds in a BIGINT."""

MAX_ROW_BYTES: Final = 8 * MIB
"""Bytes of a row in SQLite: the largest envelope with room for its columns. No planted row, and no
view in the table's place, makes a reader take more memory."""

MAX_LIST_ROWS: Final = 1_000
"""Rows of one page of a listing."""

MAX_SCHEMA_SQL_BYTES: Final = 8 * KIB
"""Bytes of the SQL that defines one table or index: ten times the largest one's."""

MAX_SCHEMA_OBJECTS: Final = 1_000
"""Tables, columns, indices and constraints of a catalogue that are looked at: ten times what there
is."""

MAX_SCHEMA_STEPS: Final = 50_000
"""Instructions of SQLite's machine to read the schema: the catalogue's takes some 500, and what
ANALYZE notes about it less than 20,000."""

# ── ledger ───────────────────────────────────────────────────────────────────

MAX_ENTRY_BYTES: Final = 64 * KIB
"""Bytes of an entry of the history or the access log: the longest name, actor and context, escaped,
with room for details."""

MAX_CONTEXT_CHARACTERS: Final = 1024
"""Characters of the context that a caller gives with a load, such as a job's id."""

REMEMBER_ACCESS_SECONDS: Final = 5
"""Seconds after which a process that appends to the access log remembers its head again: that costs
two fsyncs, and entries of so many seconds are what nobody would miss after a rollback."""

NEAR_ENTRIES: Final = 64
"""Entries that other processes appended since one's own last append: so many are read and verified,
which is quicker than a proof from the stored nodes; beyond, the proof is."""

MAX_ENTRY_DETAILS: Final = 32
"""Details of one entry: a listing shows them on one line each."""

MAX_DETAIL_CHARACTERS: Final = 1024
"""Characters of one detail, and of its name."""

MAX_HEAD_BYTES: Final = 16 * KIB
"""Bytes of a head: it holds one hash for each bit that is set in its size, 63 at most."""

MAX_HEAD_ENVELOPE_BYTES: Final = 24 * KIB
"""Bytes of a head's envelope: base64 of the largest head with its wrapping."""

MAX_MAP_VALUE_BYTES: Final = 1 * KIB
"""Bytes of one value of the map: a digest, and a tag of ``MAX_NAME_BYTES``, with room to spare."""

MAX_ALIASES: Final = 256
"""Aliases that a name may ever have: each one is looked at when an artifact of it is removed."""

MAX_MAP_BUCKET_BYTES: Final = 4 * MIB
"""Bytes of one of the map's 262,144 buckets: 10,000,000 names fill about 25 KiB of each. A planted
row cannot make a reader take more memory."""

# ── trust state ──────────────────────────────────────────────────────────────

MAX_LOCATION_CHARACTERS: Final = 16 * KIB
"""Characters of a location: the longest path of Linux, 4,096 bytes, each escaped as three."""

MAX_TRUST_LOGS: Final = 16
"""Access logs that are remembered for one repository: a client uses one, and changes it rarely."""

MAX_TRUST_STATE_BYTES: Final = 1 * MIB
"""Bytes of a trust state: all its access logs, with the longest locations."""

MAX_CLOCK_SKEW_SECONDS: Final = 300
"""Seconds by which a clock may be behind a time that was seen: NTP keeps machines far closer, and
a head that may be an hour or more old is not judged by five minutes."""

TRUST_TIME_STEP_SECONDS: Final = 3_600
"""Seconds by which the clock must be past the newest time seen before that alone is written down:
a write at each load would cost more than the load."""

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
