"""For the operator: fsck, gc, rebuild, backups, the doctor."""
