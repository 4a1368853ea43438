"""What is done to a repository as a whole: making it, verifying it, its keys, its health.

Nothing here talks to a terminal; the command line shows what these functions return.
"""

from sealstore.maintenance.access_log import create_access_log
from sealstore.maintenance.adopting import Adoption, Outcome, adopt
from sealstore.maintenance.alias_audit import audit_aliases
from sealstore.maintenance.approval_work import (
    Protection,
    aliases_named,
    protect_alias,
    read_approvals,
    read_request,
    sign_approval,
    unprotect_alias,
    write_new_file,
    write_request,
)
from sealstore.maintenance.creation import Created, initialise
from sealstore.maintenance.finding import Finding, claimed_ref
from sealstore.maintenance.inspecting import inspect, inspect_again, inspection_to_json
from sealstore.maintenance.key_changes import (
    Consequences,
    Revocation,
    Rotation,
    consequences,
    key_named,
    retire_key,
    revoke_key,
    rotate_key,
)
from sealstore.maintenance.key_exporting import KeyExport, export_for_loader, export_public
from sealstore.maintenance.key_importing import KeyImport, import_keys, plan_import
from sealstore.maintenance.key_making import (
    default_repositories,
    generate_key,
    write_hmac_key_file,
)
from sealstore.maintenance.keyring_file import configured_keyring, keys_in_file
from sealstore.maintenance.legacy_folder import LegacyFile, find_files, read_mapping
from sealstore.maintenance.note_keys import note_key, open_checkpoint_of
from sealstore.maintenance.policy_work import (
    Judged,
    check_policy,
    learn_policy,
    policy_toml,
    set_policy,
)
from sealstore.maintenance.progress import Progress, no_progress
from sealstore.maintenance.resigning import ResignReport, resign_all
from sealstore.maintenance.settings_signature import (
    SettingsSignature,
    resign_settings,
    settings_key_id,
)
from sealstore.maintenance.trusting import (
    Acceptance,
    accept_trust,
    begin_trust,
    current_point,
    read_history_checkpoint,
    remembered,
)
from sealstore.maintenance.verifying import VerifyReport, verify_all, verify_one
from sealstore.maintenance.walk import walk_rows

__all__ = [
    "Acceptance",
    "Adoption",
    "Consequences",
    "Created",
    "Finding",
    "Judged",
    "KeyExport",
    "KeyImport",
    "LegacyFile",
    "Outcome",
    "Progress",
    "Protection",
    "ResignReport",
    "Revocation",
    "Rotation",
    "SettingsSignature",
    "VerifyReport",
    "accept_trust",
    "adopt",
    "aliases_named",
    "audit_aliases",
    "begin_trust",
    "check_policy",
    "claimed_ref",
    "configured_keyring",
    "consequences",
    "create_access_log",
    "current_point",
    "default_repositories",
    "export_for_loader",
    "export_public",
    "find_files",
    "generate_key",
    "import_keys",
    "initialise",
    "inspect",
    "inspect_again",
    "inspection_to_json",
    "key_named",
    "keys_in_file",
    "learn_policy",
    "no_progress",
    "note_key",
    "open_checkpoint_of",
    "plan_import",
    "policy_toml",
    "protect_alias",
    "read_approvals",
    "read_history_checkpoint",
    "read_mapping",
    "read_request",
    "remembered",
    "resign_all",
    "resign_settings",
    "retire_key",
    "revoke_key",
    "rotate_key",
    "set_policy",
    "settings_key_id",
    "sign_approval",
    "unprotect_alias",
    "verify_all",
    "verify_one",
    "walk_rows",
    "write_hmac_key_file",
    "write_new_file",
    "write_request",
]
