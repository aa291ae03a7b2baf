"""The faults by number, the invariants, and why some faults have no test yet.

The markers of the tests name these numbers; `tests/docs/test_faults.py` makes the table of
docs/faults.md from both.
"""

FAULTS = {
    1: "API killed before its COMMIT is sent",
    2: "API killed after its COMMIT, before the answer",
    3: "API killed after its commit, before it wakes the relay",
    4: "relay killed between marking jobs and publishing them",
    5: "relay killed after telling, before it deletes the message",
    6: "sweeper killed in its batch of deletes",
    7: "worker killed between taking a message and claiming its job",
    8: "worker killed after the claim, before the task",
    9: "worker killed in mid task",
    10: "worker killed after the job's end, before it acknowledged the message",
    11: "one pool child killed, or out of memory",
    12: "a job that always kills its worker",
    13: "worker stopped past its lease, and continued",
    14: "relay stopped while it holds locks",
    15: "Redis stopped for half a minute",
    16: "Redis restarted without its data",
    17: "Redis restarted with old data",
    18: "Redis' file cut in mid record",
    19: "Redis out of memory, refusing or evicting",
    20: "FLUSHALL by an operator",
    21: "connection to any server reset after a random number of bytes",
    22: "half-open connection: the peer has vanished",
    23: "a slow network that stalls",
    24: "PostgreSQL stopped at once in mid commit",
    25: "a backend or a whole server killed",
    26: "failover to a streaming replica",
    27: "a replica that lags",
    28: "server or pool without a free connection",
    29: "deadlock, serialization failure, lock timeout",
    30: "client gone in the transaction or in the COMMIT",
    31: "disk full",
    32: "read-only file system, input and output errors",
    33: "link expired, used twice, for other bytes; upload after its sweep",
    34: "S3 answers 503, cut, changed, with a wrong ETag, or 200 with an error",
    35: "S3 down at a delete; object gone already",
    36: "killed or cancelled in a multipart upload",
    37: "messages doubled, reordered, late",
    38: "clocks that jump",
    39: "leap days and summer time for periodic jobs",
    40: "deploy: old and new code, old and new schema",
    41: "migration killed midway; replicas migrate at once",
    42: "SIGTERM in a long task, then SIGKILL",
    43: "fork after the clients were imported",
    44: "a Redis command cancelled in mid answer",
    45: "a transaction pooler before PostgreSQL",
    46: "NOTIFY lost",
    47: "a long transaction that keeps dead rows",
    48: "a backlog of a million jobs",
    49: "an old backup meets the live bucket; a copied database meets it",
    50: "backup under full write and delete load",
    51: "port in use, stale pid, two starts at once, odd paths",
    52: "the parent of the servers is killed",
}

INVARIANTS = {
    1: "atomic: a committed transaction has all its rows, jobs, messages and files, a rolled-back"
    " one none",
    2: "an acknowledged commit survives kill -9 and an immediate stop",
    3: "every job succeeds, is dead or is cancelled if a worker eventually runs",
    4: "a job finishes at most once; its effects in the database exist once",
    5: "an owner whose lease is lost never writes",
    6: "at most one live job per task, dedup key and tenant, one running per group key",
    7: "each committed file has an object of its size and SHA-256; no object is overwritten",
    8: "no object without a row beyond the grace period; none readable beyond retention and sweep",
    9: "at rest a cache entry equals its row or is absent; it is never stale beyond its TTL",
    10: "a tenant never sees or changes another's rows, jobs, files and cache",
    11: "after any cancel or fault no connection is in use, no transaction idle, no lock left",
    12: "lag, retries, memory and bloat return to where they were",
    13: "a restored backup satisfies I1, I3 and I7",
    14: "2xx means committed; 4xx and 5xx mean not committed, or say that it is not known",
    15: "no secret in a log, a repr or an error",
}

# Said on the page of whatever of them no test injects.
UNTESTED = {
    50: "there are no backups yet, so none can be made under load and restored",
}
