"""Versions of the state database, each a tuple of statements. Append only: a published one never changes.

Written for SQLite; `postgres.py` turns the few words that PostgreSQL spells differently (BLOB, INTEGER,
STRICT), so no statement holds them as anything else than types.
"""

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
    (
        # Circumstances that the first version did not keep.
        "ALTER TABLE encounter ADD COLUMN case_reference TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE encounter ADD COLUMN place_key BLOB",
        "ALTER TABLE encounter ADD COLUMN policy TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE encounter ADD COLUMN guard TEXT NOT NULL DEFAULT ''",
        # The service's name for its answer: a dispute refers to it.
        "ALTER TABLE encounter ADD COLUMN confirm_id TEXT NOT NULL DEFAULT ''",
        # Whether the item was in the storage already, so that refusing it put nothing out of reach.
        "ALTER TABLE encounter ADD COLUMN stored INTEGER NOT NULL DEFAULT 0",
        # Whether it counts in the budgets of filter hits: the test picture and a bypassed filter do not.
        "ALTER TABLE encounter ADD COLUMN counts INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE encounter_hit ADD COLUMN frame INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE encounter_hit ADD COLUMN chain_length INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE encounter_hit ADD COLUMN flips INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE encounter_hit ADD COLUMN own INTEGER NOT NULL DEFAULT 0",
        "CREATE UNIQUE INDEX encounter_case ON encounter (case_reference) WHERE case_reference <> ''",
        "CREATE INDEX encounter_uploader ON encounter (uploader_key, at)",
        "CREATE INDEX encounter_hit_value ON encounter_hit (value)",
        # What happened to an encounter afterwards: a late answer, a restore, a purge, a dispute, a removal.
        """
        CREATE TABLE follow_up (
            id TEXT PRIMARY KEY,
            encounter_id TEXT NOT NULL REFERENCES encounter (id) ON DELETE CASCADE,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            outcome TEXT NOT NULL,
            action TEXT NOT NULL,
            rule TEXT NOT NULL,
            operator TEXT NOT NULL,
            second_operator TEXT NOT NULL,
            note TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX follow_up_of ON follow_up (encounter_id, at)",
        # Probable hits without an answer. `item` is what is needed to ask and to rule again (items.py).
        """
        CREATE TABLE outbox (
            id TEXT PRIMARY KEY,
            encounter_id TEXT NOT NULL REFERENCES encounter (id),
            item TEXT NOT NULL,
            state TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            next_attempt_ms INTEGER NOT NULL,
            lease_until_ms INTEGER NOT NULL,
            lease_holder TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            last_reason TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX outbox_due ON outbox (state, next_attempt_ms)",
        "CREATE INDEX outbox_age ON outbox (state, created_ms)",
        "CREATE INDEX outbox_of ON outbox (encounter_id)",
        # What the application is still to be told; `id` is the idempotency key of each message.
        """
        CREATE TABLE notice (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            state TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            next_attempt_ms INTEGER NOT NULL,
            lease_until_ms INTEGER NOT NULL,
            attempts INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX notice_due ON notice (state, next_attempt_ms)",
        # When the next call of a kind may leave: a rate that all drainers of this database share.
        "CREATE TABLE pace (name TEXT PRIMARY KEY, next_ms INTEGER NOT NULL) STRICT",
        "INSERT INTO pace (name, next_ms) VALUES ('drain', 0)",
        # One circuit breaker an endpoint, shared by all workers.
        """
        CREATE TABLE breaker (
            endpoint TEXT PRIMARY KEY,
            failures INTEGER NOT NULL,
            open_until_ms INTEGER NOT NULL,
            probe_until_ms INTEGER NOT NULL,
            wait_until_ms INTEGER NOT NULL,
            alarm TEXT NOT NULL,
            changed_ms INTEGER NOT NULL
        ) STRICT
        """,
        # The audit log: each row's digest covers the row and the digest before it (hexadecimal).
        """
        CREATE TABLE audit (
            seq INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            previous TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT
        """,
        "CREATE TABLE audit_head (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, digest TEXT NOT NULL) STRICT",
        "INSERT INTO audit_head (id, seq, digest) VALUES (1, 0, '')",
        # Digests that this hoster knows to be good, with a reason and an author.
        """
        CREATE TABLE allowed (
            algorithm TEXT NOT NULL,
            value BLOB NOT NULL,
            reason TEXT NOT NULL,
            author TEXT NOT NULL,
            second_author TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (algorithm, value)
        ) STRICT
        """,
        # Files in quarantine. Every step of every act is a state, so that a process that dies in the middle
        # leaves a row that says what is still to be done; `target` is where a restore under way goes to.
        """
        CREATE TABLE held (
            id TEXT PRIMARY KEY,
            encounter_id TEXT NOT NULL REFERENCES encounter (id),
            name TEXT NOT NULL,
            origin TEXT NOT NULL,
            origin_mode INTEGER NOT NULL,
            origin_uid INTEGER NOT NULL,
            origin_gid INTEGER NOT NULL,
            target TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            state TEXT NOT NULL,
            held_at TEXT NOT NULL,
            keep_until TEXT NOT NULL,
            legal_hold TEXT NOT NULL,
            changed_at TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX held_state ON held (state, keep_until)",
        "CREATE INDEX held_of ON held (encounter_id)",
        # What the service is told about its answers; `id` is the idempotency key of the message.
        """
        CREATE TABLE feedback (
            id TEXT PRIMARY KEY,
            encounter_id TEXT NOT NULL REFERENCES encounter (id),
            kind TEXT NOT NULL,
            code TEXT NOT NULL,
            done_at TEXT NOT NULL,
            state TEXT NOT NULL,
            created_at TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            last_error TEXT NOT NULL,
            reply TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX feedback_of ON feedback (encounter_id)",
        # Alarms that nobody has dismissed yet, one row a kind.
        """
        CREATE TABLE alarm (
            kind TEXT PRIMARY KEY,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL,
            times INTEGER NOT NULL,
            detail TEXT NOT NULL
        ) STRICT
        """,
        # Counts by day (`2026-11-24`): what is too plain to keep one by one.
        """
        CREATE TABLE tally (
            day TEXT NOT NULL,
            name TEXT NOT NULL,
            amount INTEGER NOT NULL,
            PRIMARY KEY (day, name)
        ) STRICT
        """,
        # Who had a hash last when, for the budget of a hash: one row an uploader, however often it came.
        # `who` is the uploader's pseudonym, or for an anonymous upload its encounter's id.
        """
        CREATE TABLE hash_uploader (
            algorithm TEXT NOT NULL,
            value BLOB NOT NULL,
            who BLOB NOT NULL,
            at TEXT NOT NULL,
            encounter_id TEXT NOT NULL REFERENCES encounter (id) ON DELETE CASCADE,
            PRIMARY KEY (value, algorithm, who)
        ) STRICT
        """,
        "CREATE INDEX hash_uploader_recent ON hash_uploader (value, algorithm, at)",
        "CREATE INDEX hash_uploader_of ON hash_uploader (encounter_id)",
        # Filter hits by hour since 1970, for the budget over all uploaders.
        "CREATE TABLE hit_hour (hour INTEGER PRIMARY KEY, hits INTEGER NOT NULL) STRICT",
    ),
    (
        # Rescans: what a job is, how far each of its shards is, and what is not plain "no match".
        """
        CREATE TABLE rescan_job (
            name TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            spec TEXT NOT NULL,
            state TEXT NOT NULL,
            created_at TEXT NOT NULL,
            dispatched INTEGER NOT NULL,
            redone INTEGER NOT NULL,
            release TEXT NOT NULL,
            recheck_release TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE rescan_shard (
            job TEXT NOT NULL REFERENCES rescan_job (name) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            cursor TEXT NOT NULL,
            listed INTEGER NOT NULL,
            items INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            chunks INTEGER NOT NULL,
            end_file INTEGER NOT NULL,
            end_offset INTEGER NOT NULL,
            rechecked_file INTEGER NOT NULL,
            rechecked_offset INTEGER NOT NULL,
            PRIMARY KEY (job, number)
        ) STRICT
        """,
        """
        CREATE TABLE rescan_item (
            job TEXT NOT NULL REFERENCES rescan_job (name) ON DELETE CASCADE,
            shard INTEGER NOT NULL,
            reference TEXT NOT NULL,
            outcome TEXT NOT NULL,
            ruled TEXT NOT NULL,
            action TEXT NOT NULL,
            reasons TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            kind TEXT NOT NULL,
            sha256 BLOB NOT NULL,
            sources TEXT NOT NULL,
            categories TEXT NOT NULL,
            encounter_id TEXT NOT NULL,
            case_reference TEXT NOT NULL,
            release TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (job, shard, reference)
        ) STRICT
        """,
        # Throughput, by minute since 1970.
        """
        CREATE TABLE rescan_minute (
            job TEXT NOT NULL REFERENCES rescan_job (name) ON DELETE CASCADE,
            minute INTEGER NOT NULL,
            items INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            PRIMARY KEY (job, minute)
        ) STRICT
        """,
    ),
)
