"""Versions of `state.db`, each a tuple of statements. Append only: a published migration never changes."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # What is not recorded at the moment it is seen cannot be recovered later.
        """
        CREATE TABLE encounter (
            id TEXT PRIMARY KEY,
            at TEXT NOT NULL,
            outcome TEXT NOT NULL,
            ruled TEXT NOT NULL,
            action TEXT NOT NULL,
            mode TEXT NOT NULL,
            rule TEXT NOT NULL,
            reasons TEXT NOT NULL,
            release TEXT NOT NULL,
            recipe TEXT NOT NULL,
            sha256 BLOB NOT NULL,
            hashes_sent INTEGER NOT NULL,
            route TEXT NOT NULL,
            uploader_key BLOB NOT NULL,
            reference TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX encounter_at ON encounter (at)",
        """
        CREATE TABLE encounter_hit (
            encounter_id TEXT NOT NULL REFERENCES encounter (id) ON DELETE CASCADE,
            algorithm TEXT NOT NULL,
            value BLOB NOT NULL,
            section TEXT NOT NULL,
            view TEXT NOT NULL,
            confirmed INTEGER NOT NULL,
            distance_bits INTEGER NOT NULL,
            sources TEXT NOT NULL,
            categories TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX encounter_hit_of ON encounter_hit (encounter_id)",
    ),
)
