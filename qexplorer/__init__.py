"""Find the disguised siblings of flagged listings by search queries."""
