"""What an auditor does with the ledger: reads, verifies, keeps, proves and reports it."""

from sealstore.maintenance.auditing.chains import ChainName, Ledger, chain_of, open_ledger
from sealstore.maintenance.auditing.checkpoints import (
    Consistency,
    SignedCheckpoint,
    consistency,
    make_checkpoint,
    read_checkpoint,
)
from sealstore.maintenance.auditing.exporting import export_chain, read_export, verify_export
from sealstore.maintenance.auditing.files import new_file
from sealstore.maintenance.auditing.findings import AuditFinding
from sealstore.maintenance.auditing.log import (
    ACTS,
    HISTORY_EVENTS,
    OUTCOMES,
    LogFilter,
    LogLine,
    LogPage,
    follow,
    log_page,
    merged,
)
from sealstore.maintenance.auditing.proofs import (
    ProofDocument,
    ProvenEntry,
    check_proof,
    prove_entry,
)
from sealstore.maintenance.auditing.reporting import write_report
from sealstore.maintenance.auditing.verifying import (
    CUT_IS_NOT_SEEN,
    AuditReport,
    ChainReport,
    head_json,
    verify_ledger,
)

__all__ = [
    "ACTS",
    "CUT_IS_NOT_SEEN",
    "HISTORY_EVENTS",
    "OUTCOMES",
    "AuditFinding",
    "AuditReport",
    "ChainName",
    "ChainReport",
    "Consistency",
    "Ledger",
    "LogFilter",
    "LogLine",
    "LogPage",
    "ProofDocument",
    "ProvenEntry",
    "SignedCheckpoint",
    "chain_of",
    "check_proof",
    "consistency",
    "export_chain",
    "follow",
    "head_json",
    "log_page",
    "make_checkpoint",
    "merged",
    "new_file",
    "open_ledger",
    "prove_entry",
    "read_checkpoint",
    "read_export",
    "verify_export",
    "verify_ledger",
    "write_report",
]
