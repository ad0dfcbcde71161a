"""The one place where a key is spelled. All keys of the dead-letter store share one hash tag, so one cluster slot.

`<root>` is `<prefix>:{dead-letters}`; `<id>` a task's id; `<value>` a task name, error type, fingerprint or queue.

    <root>:letter:<id>         hash  what is filtered by, and the letter's state; short values. Goes with the letter
    <root>:message:<id>        str   the message: body, headers, properties …, packed (`dead_letters/packing.py`). Goes
                                     with the letter
    <root>:versions:<id>       list  what it was before each edit: who and when as JSON, the message, in turn. At most
                                     20, which go with the letter
    <root>:notes:<id>          list  what people noted on it, as JSON; the last 100. Goes with the letter
    <root>:all                 zset  id, scored by time of death (unix s). Entries go with the letter
    <root>:state:<state>       zset  the same, of one state. Entries go when the letter leaves the state
    <root>:task:<value>        zset  the same, of one task. Entries go with the letter
    <root>:error_type:<value>  zset  likewise
    <root>:fingerprint:<value> zset  likewise
    <root>:queue:<value>       zset  likewise
    <root>:parent:<value>      zset  likewise, of items of the batch of one task
    <root>:kept:<dimension>    hash  value -> letters kept. Dimensions: `COUNTED`. A field goes when it is 0
    <root>:open:<dimension>    hash  value -> letters not finished. A field goes when it is 0
    <root>:groups              zset  fingerprint, scored by its last death (unix s). About 10,000; those with open
                                     letters stay
    <root>:group:<value>       hash  record of one group: what it is, its deaths, by the hour for two days, and its
                                     state (`dead_letters/groups.py`). Expires 90 days after the last death
    <root>:group-parts:<value> hash  its deaths by queue, worker and version of the code. At most 200 fields; likewise
    <root>:finished            zset  id, scored by when it was recovered or discarded. Swept after `letter_max_age`
    <root>:totals              hash  added, again, duplicate, replayed, recovered, discarded, expired, bytes. Goes with
                                     the last letter
    <root>:operations          zset  id of an operation, scored by its start; the oldest beyond 1,000 go
    <root>:operations-open     set   id of an operation that has not ended. An entry goes when that is found out
    <root>:operation:<id>      hash  who, when, filter, state and counts of one operation (`operations/`). Expires 30
                                     days after its last change
    <root>:operation-ids:<id>  list  ids of its letters, in the order in which it goes through them. Expires likewise
    <root>:operation-runner:<id> str who runs it. Expires 15 s after its last beat
    <root>:audit               stream what operators did (`audit.py`). About a million entries
    <root>:attempt:<life>      hash  who runs which step of a life, crashes, what follows (`custody.py`). Expires after
                                     `attempt_ttl`
    <root>:worker:<boot>       str   identity of a worker that lives, as JSON. Expires 15 s after its last beat
    <root>:running:<boot>      set   lives that this worker runs and that came back, or were retried. Expires likewise
    <root>:suspect:<boot>      str   of the lives that have crashed a worker, the one it runs now. Expires in a day
    <root>:parked:<key>        hash  what parked tasks are filtered by, and the claim on one; short values. `<key>` is
                                     one publication (its `copy`). Goes when it is released or discarded
    <root>:parked-message:<key> hash its message: body, and all else as JSON. Goes with it
    <root>:parked-due          zset  key, scored by when it is next looked at (unix s): when it is due; while claimed,
                                     the end of the lease; once refused, the next try; of one that waits for a circuit,
                                     when it goes back whatever the circuit says. Goes with it
    <root>:parked-circuit:<name> zset keys of those that wait for this circuit, scored by when they were parked; while
                                     claimed, the end of the lease; once refused, the next try. Entries go with them
    <root>:parked-circuits     zset  name of each circuit that tasks wait for, scored by when it is next asked how many
                                     may go back (unix s). An entry goes with the last of its tasks
    <root>:parked-refused      zset  keys of those that no queue takes, scored by when they were due. Goes with it
    <root>:parked-count:<dimension> hash value -> parked tasks. Dimensions: `PARKED_COUNTED`. A field goes when it is 0
    <root>owed                 zset  id of a task whose result the backend does not have yet, scored by when it is to be
                                     tried again (unix s). At most 100,000; an entry goes with its record
    <root>owed:<id>            hash  that result, and what storing it needs (`results/owed.py`). Goes when it is
                                     settled, or expires with `result_expires`
    <root>:checkpoints         zset  name of a checkpoint, scored by when it was saved (unix s). Entries go when
                                     its task succeeds
    <root>:checkpoint:<name>   hash  its state, its fence, and whose it is (`checkpoint.py`). Expires after
                                     `recovery_checkpoint_ttl`, and a day after a success
    <root>alerts               zset  id of an alert, scored by when it was first sent (unix s). At most 1,000; a week
    <root>alert:<id>           hash  what it tells, to which sink, and how that went (`monitoring/alerts/`). Expires in
                                     a week
    <root>alert-gathering:<sink>:<event> hash what the next alert of that kind will tell: how many, and the first 20.
                                     Becomes the alert
    <root>alert-due:<sink>     zset  event that is gathered, or `=` and the id of an alert, scored by when it is due
                                     (unix s). Entries go when it is sent or given up
    <root>alert-sent:<sink>    zset  id of each alert within the time of the sink's `at_most`, scored by when it was
                                     first sent
    <root>alert-once:<what>    str   one worker looks, or has told. Expires when the next may
    <prefix>:{rates}:<bucket>  hash  counts of one minute (`monitoring/stats.py`). Expires after the retention
    <prefix>:{rates}:hour:<hour> hash what reports read, of one hour (`monitoring/measures.py`). Expires likewise
    <prefix>:{rates}:totals    hash  what only grows, for Prometheus. Expires 90 days after the last count
    <prefix>:{rates}:feed      stream what happened, for those who look on. About 10,000 entries
    <prefix>:{circuits}        zset  name of a circuit, scored by when it was last used (unix s). At most 10,000, each
                                     for a week
    <circuit>state             hash  one circuit (`circuit/machine.py`); `<circuit>` is `<prefix>:{circuit:<name>}:`.
                                     Expires a day after its last use; what a person has forced or disabled does not
    <circuit>state@<host>      hash  that of one host, with `host_quorum`. Expires likewise; goes when that of all
                                     closes
    <circuit>places            zset  token of a probe, scored by the end of its lease (unix s). Goes with the next state
    <circuit>places@<host>     zset  likewise
    <circuit>history           list  transitions as JSON, the latest first; at most 50. Expires a week after the last
    <circuit>hosts             zset  host with a state of its own, scored by when it was heard of. At most 1,000
    <circuit>witnesses         zset  host whose own circuit is open, scored by when that ends (unix s)
    <circuit>told:<call>       str   transitions that this very call brought about, as JSON. Expires after 10 s
    <prefix>:{circuit:<name>}:budget  hash  `calls:<at>` and `retries:<at>` of the part of a window that begins at <at>
                                     (microseconds); totals granted, refused (`circuit/budget.py`). At most 44 fields
                                     of one width; expires a day after its last use
    <prefix>:{circuit:<name>}:budget:asked:<who>  str  number and answer of what this thread of a process asked last.
                                     Expires after 10 s

The scripts get `<root>:` as their only key and the rest of the spelling from `Keys.lua`.
"""

from __future__ import annotations

__all__ = ("COUNTED", "INDEXED", "PARKED_COUNTED", "BudgetKeys", "CircuitKeys", "Keys")

#: What a letter is indexed by, beside its state.
INDEXED = ("task", "error_type", "fingerprint", "queue", "parent")
#: What letters are counted by.
COUNTED = ("task", "error_type", "fingerprint", "queue", "reason")
#: What parked tasks are counted by.
PARKED_COUNTED = ("task", "queue", "reason")

_LUA = """\
local ROOT = KEYS[1]
local INDEXED = {{{indexed}}}
local COUNTED = {{{counted}}}
local ALL, FINISHED, TOTALS = ROOT .. 'all', ROOT .. 'finished', ROOT .. 'totals'
local OWED = ROOT .. 'owed'
local GROUPS = ROOT .. 'groups'
local function group_key(fingerprint) return ROOT .. 'group:' .. fingerprint end
local function group_parts_key(fingerprint) return ROOT .. 'group-parts:' .. fingerprint end
local ALERTS = ROOT .. 'alerts'
local function alert_key(id) return ROOT .. 'alert:' .. id end
local function alert_gathering_key(sink, event) return ROOT .. 'alert-gathering:' .. sink .. ':' .. event end
local function alert_due_key(sink) return ROOT .. 'alert-due:' .. sink end
local function alert_sent_key(sink) return ROOT .. 'alert-sent:' .. sink end
local CHECKPOINTS = ROOT .. 'checkpoints'
local function checkpoint_key(name) return ROOT .. 'checkpoint:' .. name end
local function owed_key(id) return ROOT .. 'owed:' .. id end
local function operation_key(id) return ROOT .. 'operation:' .. id end
local function operation_ids_key(id) return ROOT .. 'operation-ids:' .. id end
local function operation_runner_key(id) return ROOT .. 'operation-runner:' .. id end
local function letter_key(id) return ROOT .. 'letter:' .. id end
local function message_key(id) return ROOT .. 'message:' .. id end
local function versions_key(id) return ROOT .. 'versions:' .. id end
local function notes_key(id) return ROOT .. 'notes:' .. id end
local function index_key(dimension, value) return ROOT .. dimension .. ':' .. value end
local function kept_key(dimension) return ROOT .. 'kept:' .. dimension end
local function attempt_key(life) return ROOT .. 'attempt:' .. life end
local function worker_key(boot) return ROOT .. 'worker:' .. boot end
local function running_key(boot) return ROOT .. 'running:' .. boot end
local function suspect_key(boot) return ROOT .. 'suspect:' .. boot end
local function open_key(dimension) return ROOT .. 'open:' .. dimension end
local PARKED_COUNTED = {{{parked}}}
local PARKED_DUE, PARKED_REFUSED = ROOT .. 'parked-due', ROOT .. 'parked-refused'
local PARKED_CIRCUITS = ROOT .. 'parked-circuits'
local function parked_circuit_key(circuit) return ROOT .. 'parked-circuit:' .. circuit end
local function parked_key(key) return ROOT .. 'parked:' .. key end
local function parked_message_key(key) return ROOT .. 'parked-message:' .. key end
local function parked_count_key(dimension) return ROOT .. 'parked-count:' .. dimension end
"""


class Keys:
    """Spells the keys under one prefix."""

    def __init__(self, prefix: str = "celery-recovery") -> None:
        self.prefix = prefix
        #: Begins every key of the store; what the scripts get as `KEYS[1]`.
        self.root = f"{prefix}:{{dead-letters}}:"
        self.all = f"{self.root}all"
        self.finished = f"{self.root}finished"
        self.groups = f"{self.root}groups"
        self.totals = f"{self.root}totals"
        self.operations = f"{self.root}operations"
        self.operations_open = f"{self.root}operations-open"
        self.audit = f"{self.root}audit"
        self.alerts = f"{self.root}alerts"
        self.owed = f"{self.root}owed"
        self.checkpoints = f"{self.root}checkpoints"
        self.parked_due = f"{self.root}parked-due"
        self.parked_refused = f"{self.root}parked-refused"
        self.parked_circuits = f"{self.root}parked-circuits"
        self.totals_of_rates = f"{prefix}:{{rates}}:totals"
        self.feed = f"{prefix}:{{rates}}:feed"

    def letter(self, letter_id: str) -> str:
        """What is filtered by, and the state."""
        return f"{self.root}letter:{letter_id}"

    def message(self, letter_id: str) -> str:
        """The message itself."""
        return f"{self.root}message:{letter_id}"

    def versions(self, letter_id: str) -> str:
        """What it was before."""
        return f"{self.root}versions:{letter_id}"

    def notes(self, letter_id: str) -> str:
        """What people noted on it."""
        return f"{self.root}notes:{letter_id}"

    def index(self, dimension: str, value: str) -> str:
        """Index of one dimension (`"state"` or one of `INDEXED`); the dimension `"all"` has one value, `""`."""
        return self.all if dimension == "all" else f"{self.root}{dimension}:{value}"

    def kept(self, dimension: str) -> str:
        """Counts of letters by the values of a dimension."""
        return f"{self.root}kept:{dimension}"

    def open(self, dimension: str) -> str:
        """The same, of letters that are not finished."""
        return f"{self.root}open:{dimension}"

    def group(self, fingerprint: str) -> str:
        """The record of one group."""
        return f"{self.root}group:{fingerprint}"

    def group_parts(self, fingerprint: str) -> str:
        """Where its deaths were."""
        return f"{self.root}group-parts:{fingerprint}"

    def attempt(self, life: str) -> str:
        """What is known of one life of a task."""
        return f"{self.root}attempt:{life}"

    def worker(self, boot: str) -> str:
        """A worker that lives."""
        return f"{self.root}worker:{boot}"

    def running(self, boot: str) -> str:
        """What it runs that came back, or was retried."""
        return f"{self.root}running:{boot}"

    def checkpoint(self, name: str) -> str:
        """One checkpoint: the state, and whose it is."""
        return f"{self.root}checkpoint:{name}"

    def parked(self, key: str) -> str:
        """What a parked task is filtered by, and the claim on it."""
        return f"{self.root}parked:{key}"

    def parked_message(self, key: str) -> str:
        """The message of a parked task."""
        return f"{self.root}parked-message:{key}"

    def parked_circuit(self, circuit: str) -> str:
        """Those that wait for this circuit."""
        return f"{self.root}parked-circuit:{circuit}"

    def parked_count(self, dimension: str) -> str:
        """Counts of parked tasks by the values of one of `PARKED_COUNTED`."""
        return f"{self.root}parked-count:{dimension}"

    def operation(self, operation_id: str) -> str:
        """One operation, on the record."""
        return f"{self.root}operation:{operation_id}"

    def operation_ids(self, operation_id: str) -> str:
        """Its letters."""
        return f"{self.root}operation-ids:{operation_id}"

    def operation_runner(self, operation_id: str) -> str:
        """Who runs it."""
        return f"{self.root}operation-runner:{operation_id}"

    def alert(self, alert_id: str) -> str:
        """One alert."""
        return f"{self.root}alert:{alert_id}"

    def alert_gathering(self, sink: str, event: str) -> str:
        """What the next alert of that kind will tell."""
        return f"{self.root}alert-gathering:{sink}:{event}"

    def alert_due(self, sink: str) -> str:
        """What is to be sent to one sink."""
        return f"{self.root}alert-due:{sink}"

    def alert_once(self, what: str) -> str:
        """Who does it for all."""
        return f"{self.root}alert-once:{what}"

    def rates(self, bucket: int) -> str:
        """Counts of the time bucket that begins at `bucket` (unix s)."""
        return f"{self.prefix}:{{rates}}:{bucket}"

    def measures(self, hour: int) -> str:
        """What reports read of the hour that begins at `hour` (unix s)."""
        return f"{self.prefix}:{{rates}}:hour:{hour}"

    @staticmethod
    def lua() -> str:
        """The same spelling for the scripts, put in front of each."""
        quoted = (", ".join(f"'{name}'" for name in names) for names in (INDEXED, COUNTED, PARKED_COUNTED))
        return _LUA.format(indexed=next(quoted), counted=next(quoted), parked=next(quoted))


_BUDGET_LUA = """\
local BUDGET = KEYS[1]
local function asked_key(who) return BUDGET .. ':asked:' .. who end
"""


class BudgetKeys:
    """Spells the keys of one retry budget; they share a slot with those of the circuit of that name."""

    def __init__(self, prefix: str, name: str) -> None:
        #: The budget itself; what the scripts get as `KEYS[1]`.
        self.root = f"{prefix}:{{circuit:{name}}}:budget"

    def asked(self, who: str) -> str:
        """What `who` asked last."""
        return f"{self.root}:asked:{who}"

    @staticmethod
    def lua() -> str:
        """The same spelling for the scripts, put in front of each."""
        return _BUDGET_LUA


_CIRCUIT_LUA = """\
local CIRCUIT = KEYS[1]
local HISTORY, HOSTS, WITNESSES = CIRCUIT .. 'history', CIRCUIT .. 'hosts', CIRCUIT .. 'witnesses'
local function record_key(scope) return CIRCUIT .. 'state' .. (scope == '' and '' or '@' .. scope) end
local function places_key(scope) return CIRCUIT .. 'places' .. (scope == '' and '' or '@' .. scope) end
local function told_key(call) return CIRCUIT .. 'told:' .. call end
"""


class CircuitKeys:
    """Spells the keys of one circuit."""

    def __init__(self, prefix: str, name: str) -> None:
        #: Begins every key of the circuit; what the scripts get as `KEYS[1]`.
        self.root = f"{prefix}:{{circuit:{name}}}:"
        self.history = f"{self.root}history"
        self.hosts = f"{self.root}hosts"
        self.witnesses = f"{self.root}witnesses"

    def record(self, scope: str = "") -> str:
        """The circuit itself, or that of one host."""
        return f"{self.root}state@{scope}" if scope else f"{self.root}state"

    def places(self, scope: str = "") -> str:
        """Places for probes that are held."""
        return f"{self.root}places@{scope}" if scope else f"{self.root}places"

    def told(self, call: str) -> str:
        """What one call brought about."""
        return f"{self.root}told:{call}"

    @staticmethod
    def index(prefix: str) -> str:
        """Names of all circuits; in a slot of its own."""
        return f"{prefix}:{{circuits}}"

    @staticmethod
    def lua() -> str:
        """The same spelling for the scripts, put in front of each."""
        return _CIRCUIT_LUA
