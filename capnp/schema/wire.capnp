@0xd3a1f0c5b7e24c02;
# Messages between the node's processes. `Down` and `Up` travel on the control link that each role
# inherits from the supervisor; the others on links between two roles that the supervisor hands out.
# Times are ns since the Unix epoch, packet time unless the name says wall.

# ---------------------------------------------------------------- control: supervisor -> role

struct Down {
  union {
    startCapture @0  :CaptureStart;   # always the first message
    startStorage @1  :StorageStart;
    startExport  @2  :ExportStart;
    startReader  @3  :ReaderStart;
    startRunner  @4  :RunnerStart;
    startQuery   @5  :QueryStart;
    peer         @6  :Peer;           # one descriptor attached: the link to a peer, or a file
    stop         @7  :Void;           # drain, seal, exit with status 0
    certificate  @8  :Data;           # capture: its run key's certificate (keys::signing::Certificate)
    epochKeys    @9  :EpochKeys;      # capture, export: answer to needEpoch
    subscribe    @10 :Subscription;   # capture: a live consumer of views; its link follows as `peer`
    unsubscribe  @11 :UInt32;
    signature    @12 :Data;           # runner: the node's signature of its dataset (64 bytes)
    answer       @13 :Answer;         # query
    startModule  @14 :ModuleRun;      # export
    stopModule   @15 :UInt64;         # export: instance id
    trust        @16 :Trust;          # query: new roots and revocation lists
    allowance    @17 :UInt64;         # reader: bytes/s of the trace that it may read from now on; all ones: any
  }
}

struct Peer {
  role @0 :Text;    # "storage", "capture", "export", "runner", "reader", "output"
  id   @1 :UInt64;  # capture: the subscription id of an export; else 0
}

# ---------------------------------------------------------------- control: role -> supervisor

struct Up {
  union {
    ready      @0  :Ready;         # the sandbox is in force; input may now come
    certifyRun @1  :Data;          # capture: run verifying key (32 bytes)
    needEpoch  @2  :UInt32;        # capture, export: sealing epoch (day of packet time)
    capture    @3  :CaptureReport; # once a second and at every stop
    segment    @4  :SegmentState;  # storage
    segmentGone @5 :Data;          # storage: segment id, expired
    records    @6  :RecordState;   # storage
    recordsGone @7 :Text;          # storage: file name, expired
    storage    @8  :StorageReport;
    ask        @9  :Ask;           # query
    progress   @10 :Progress;      # reader
    statement  @11 :Statement;     # runner: what it asks the node to sign
    finished   @12 :Finished;      # reader, runner
    failed     @13 :Failed;        # any role: what went wrong and what to do, for people
    fault      @14 :ModuleFault;   # export, runner
    usage      @15 :ModuleUsage;   # export: once a second per instance
    stopped    @16 :Void;          # answer to stop, after draining
  }
}

struct Ready {
  pid     @0 :UInt32;
  sandbox @1 :Text;  # which restrictions hold, for the log and `status`
}

struct Failed {
  what    @0 :Text;
  fix     @1 :Text;
  lasting @2 :Bool;   # starting again mends nothing: the operator has to
}

# ---------------------------------------------------------------- capture

struct CaptureStart {
  node           @0  :Text;
  nodeKey        @1  :Data;     # verifying key, 32 bytes
  retain         @2  :UInt8;    # highest section kept: 2 anonymized, 3 headers, 4 payload
  segmentBytes   @3  :UInt64;
  workers        @4  :UInt16;   # 0: one per core
  source :union {
    live         @5  :LiveSource;
    file         @6  :FileSource;
  }
  queueBytes     @7  :UInt64;   # sealed blocks held while storage is away (live sources drop beyond it)
  asTable        @8  :Text;     # routing table for AS numbers; empty: none
  asMinAddresses @9  :UInt64;   # smaller systems are not named
}

struct LiveSource {
  interface   @0 :Text;
  filter      @1 :Text;     # the operator's own libpcap filter, may be empty
  snaplen     @2 :UInt32;
  bufferBytes @3 :UInt64;
  promiscuous @4 :Bool;
}

struct FileSource {
  path  @0 :Text;
  paced @1 :Bool;    # as recorded; else as fast as possible
  name  @2 :Text;    # under which it is known, whatever its path is now; empty: the path
}

struct EpochKeys {
  sealingEpoch @0 :UInt32;
  mappingEpoch @1 :UInt32;
  recipientA   @2 :Data;
  recipientR   @3 :Data;
  recipientP   @4 :Data;
  mappingKey   @5 :Data;                # capture only
  audiences    @6 :List(AudienceKey);   # capture only: of the live subscriptions
  records      @7 :List(Data);          # export only: five recipients, by output level
}

struct AudienceKey {
  audience     @0 :Text;
  mappingEpoch @1 :UInt32;
  key          @2 :Data;
}

struct Subscription {
  id       @0 :UInt32;
  level    @1 :UInt8;
  audience @2 :Text;                 # empty: the node's own pseudonyms
  keys     @3 :List(AudienceKey);
  columns  @4 :Data;                 # ids of the columns that are looked at, a byte each; sent again when they change
  frames   @5 :Bool;                 # whether the frames are looked at
  sample   @6 :UInt32;               # one packet in so many is shown, with that weight; 0 as 1: all
  sampleAtMost @7 :UInt32;           # to which it may grow while the consumer does not keep up
}

struct CaptureReport {
  packets     @0 :UInt64;   # taken from the source by this run
  bytes       @1 :UInt64;   # captured bytes
  lost        @2 :UInt64;   # packets lost before or in capture
  shed        @3 :UInt64;   # packets not shown to live modules (the trace has them)
  poisoned    @4 :UInt64;   # packets stored undissected after a panic
  nowNs       @5 :UInt64;   # packet time
  acked       @6 :UInt64;   # packets that storage has acknowledged
  sourceDone  @7 :Bool;     # a file was read to its end, and all of it is acknowledged
  warning     @8 :Text;     # e.g. the file is truncated; empty: none
  offset      @9 :UInt64;   # bytes of a file that were read
  outOfOrder  @10 :UInt64;  # packets of this run whose time is before that of the packet in front of them
  losses      @11 :List(Loss); # packets lost by this run, by cause
  sealedBytes @12 :UInt64;  # bytes of sealed blocks
  denied      @13 :UInt64;  # packets without a view below `payload`
  views       @14 :List(UInt64); # live views that were made, by their level: 0 aggregate .. 4 payload
  viewsSent   @15 :UInt64;  # live views that went to consumers; more than were made where two share one
  pressure    @16 :UInt16;  # how full the fullest of capture's queues is, per mille; a file has none, it waits
  sampled     @17 :UInt32;  # live modules see one packet in so many: of their consumers the one that sees fewest; 1: all
}

struct Loss {
  cause @0 :Text;
  count @1 :UInt64;
}

# capture or export -> storage
struct StoreItem {
  union {
    begin       @0 :Begin;         # first on each link of capture
    sealed      @1 :SealedItem;
    recordOpen  @2 :RecordOpen;    # export
    recordBlock @3 :RecordBlock;
    recordClose @4 :RecordClose;
  }
}

struct Begin {
  source   @0 :Data;   # 16 bytes: which file or interface
  newRun   @1 :Bool;   # a new capture run asks where to go on; else storage was away and items come again
}

struct SealedItem {
  sequence @0 :UInt64;  # within the capture run, from 0 without holes
  segment  @1 :Data;    # 16 bytes
  kind     @2 :UInt8;   # 0 header, 1 block, 2 footer
}                       # its bytes are the body of the frame

# storage -> capture or export
struct StoreAck {
  union {
    resume       @0 :Resume;   # answer to a new run
    acknowledged @1 :UInt64;   # all items up to this sequence are on disk
    refused      @2 :Text;     # the items do not continue what is stored: capture must start a new run
    recordsAcknowledged @3 :UInt64;  # record items of this link that are on disk
  }
}

struct Resume {
  offset  @0 :UInt64;  # where in the source to go on
  packets @1 :UInt64;  # packets of that source that are stored
  starts  @2 :UInt32;  # starts of capture since this point last moved
}

# ---------------------------------------------------------------- storage

struct StorageStart {
  directory    @0 :Text;   # of the trace: segments and records lie below it
  ringBytes    @1 :UInt64;
  recordsBytes @2 :UInt64;
  maxAgeNs     @3 :UInt64; # a segment goes this long after it was begun, wall time; 0: never for its age
  keepFreeBytes @4 :UInt64; # the oldest segments go while the disk has fewer bytes free
  recordsMaxAgeNs @5 :UInt64; # a record file goes this long after it was ended, wall time; 0: never for its age
}

struct SegmentState {
  segment      @0 :Data;
  file         @1 :Text;    # name in the segments directory
  sealed       @2 :UInt8;   # 0 open, 1 sealed, 2 unsealed end
  sealingEpoch @3 :UInt32;
  mappingEpoch @4 :UInt32;
  firstNs      @5 :UInt64;  # of the header
  lastNs       @6 :UInt64;  # of the footer; 0 while it has none
  packets      @7 :UInt64;
  bytes        @8 :UInt64;  # on disk
  capturedBytes @9 :UInt64;
  lost         @10 :UInt64;
  sectionBytes @11 :List(UInt64); # of the footer: sections A, R and P; empty while it has none
}

struct RecordState {
  file     @0 :Text;
  header   @1 :Data;        # a trace_capnp RecordHeader message
  fromNs   @2 :UInt64;      # first and end of the complete intervals that the file holds without a hole
  toNs     @3 :UInt64;
  bytes    @4 :UInt64;
  newHole  @5 :Bool;        # an interval before this one is missing or was interrupted, or sampled otherwise
  oneIn    @6 :UInt32;      # of these intervals one packet in so many was looked at; 0 as 1: all
}

struct StorageReport {
  segments    @0 :UInt32;
  bytes       @1 :UInt64;
  freeBytes   @2 :UInt64;
  diskFull    @3 :Bool;
  duplicates  @4 :UInt64;  # blocks dropped because they were stored before
  tornBytes   @5 :UInt64;  # cut off recovered segments
  warning     @6 :Text;
  recordFiles @7 :UInt32;
  recordBytes @8 :UInt64;
  blocks      @9 :UInt64;  # stored by this run
  storedBytes @10 :UInt64; # of these, with the ends of segments
}

# ---------------------------------------------------------------- export, runner

struct ModuleRun {
  instance     @0 :UInt64;
  module       @1 :Data;           # the signed module file: verified again where it runs
  developerKey @2 :Data;           # 32 bytes
  arguments    @3 :List(Argument);
  fromNs       @4 :UInt64;         # live: the first interval that may be stored
  toNs         @5 :UInt64;         # live: end of a future window; 0: until stopped
  audience     @6 :Text;           # of its records; empty where it asks for no pseudonymous column
  storedToNs   @7 :UInt64;         # live: end of the newest complete interval that is stored of it; 0: none. What lies
                                   # between it and the first interval of this run is marked as a gap
}

struct Argument {
  name  @0 :Text;
  value @1 :Int64;
}

struct ExportStart {
  level    @0 :UInt8;
  audience @1 :Text;
}

struct ModuleFault {
  instance @0 :UInt64;
  what     @1 :Text;
}

struct ModuleUsage {
  instance  @0 :UInt64;
  packets   @1 :UInt64;
  fuel      @2 :UInt64;
  wallNs    @3 :UInt64;
  rows      @4 :UInt64;
  intervals @5 :UInt64;
  memoryBytes @6 :UInt64;  # the guest's memory
  storedBytes @7 :UInt64;  # sealed record blocks
}

struct RecordOpen {
  file   @0 :Text;
  header @1 :Data;
}

struct RecordBlock {
  file  @0 :Text;
  bytes @1 :Data;
}

struct RecordClose {
  file @0 :Text;
}

# capture -> export, reader -> runner
struct Feed {
  union {
    view @0 :ViewBatch;
    gap  @1 :Gap;
    tick @2 :UInt64;   # packet (or wall) time has reached this: intervals that end before it may be stored
    end  @3 :Void;
    rows @4 :Rows;     # reader -> runner where stored records are read
    piece @6 :Piece;   # reader -> runner: what follows belongs to this part of the window, to be computed from its packets
    passed @5 :Passed; # reader -> runner: packets that were not read, since the module's own filter passes none of them
  }
}

struct Piece {
  fromNs @0 :UInt64;
  toNs   @1 :UInt64;
}

struct Passed {
  nowNs   @0 :UInt64;  # the latest of them
  packets @1 :UInt64;
}

struct Rows {
  fromNs   @0 :UInt64;
  toNs     @1 :UInt64;
  complete @2 :Bool;
  rows     @3 :Data;   # a record block's plain text
  oneIn    @4 :UInt32; # one packet in so many was looked at; 0 as 1: all
}

struct ViewBatch {
  level   @0 :UInt8;
  link    @1 :UInt32;
  count   @2 :UInt32;
  columns @3 :List(Data);  # by column id, little-endian, `count` values each; empty: all zero
  offsets @4 :Data;        # (count + 1) x UInt32, or empty where no frame bytes are shown
  frames  @5 :Data;
  sparse  @6 :Bool;        # only the columns that are needed were sent; the others stay empty
  oneIn   @7 :UInt32;      # these are one packet in so many of [fromNs, toNs); 0: all of them
  fromNs  @8 :UInt64;
  toNs    @9 :UInt64;
}

struct Gap {
  fromNs  @0 :UInt64;
  toNs    @1 :UInt64;
  cause   @2 :Text;
  count   @3 :UInt64;
  unknown @4 :Bool;    # count is unknown
}

# ---------------------------------------------------------------- reader

struct ReaderStart {
  directory  @0 :Text;               # of the segments or the records, read only
  nodeKey    @1 :Data;
  segments   @2 :List(SegmentGrant);
  fromNs     @3 :UInt64;
  toNs       @4 :UInt64;
  viewLevel  @5 :UInt8;              # of the views that the runner gets
  askLevel   @6 :UInt8;              # of the view that the asker's filter is evaluated on
  filter     @7 :Text;
  audiences  @8 :List(AudienceKey);  # re-key to these; empty: the node's own pseudonyms
  mappings   @9 :List(AudienceKey);  # the node's mapping keys, only where the level needs them
  records    @10 :List(RecordGrant); # stored records: they answer for their stretches
  estimateOnly @11 :Bool;
  columns    @12 :List(UInt8);       # ids of the columns that are needed; empty: all
  frames     @13 :Bool;              # whether the frame bytes are needed
  cut        @14 :Bool;              # drop packets outside the window here; else the module's runner does
  tables     @15 :Bool;              # at coarse and aggregate: rows of the host's own tables instead of views
  indexFilters @16 :List(IndexFilter); # an epoch that is not listed: its segments are scanned
  pieces     @18 :List(TracePiece);  # parts of the window that segments answer for, in order of time
  recordsDirectory @19 :Text;
  intervalNs @17 :UInt64;            # not 0: indexFilters are of the module's own filter, and its intervals are this long
}

# The filter in the node's own pseudonyms of one mapping epoch, in which the index is written. It may pass more.
struct IndexFilter {
  mappingEpoch @0 :UInt32;
  filter       @1 :Text;
}

# A part of the window that is read from the trace.
struct TracePiece {
  fromNs   @0 :UInt64;
  toNs     @1 :UInt64;
  segments @2 :List(UInt32);  # of ReaderStart.segments, by their place there
}

struct SegmentGrant {
  file         @0 :Text;
  segment      @1 :Data;
  mappingEpoch @2 :UInt32;
  keyA         @3 :Data;   # data keys, 32 bytes each; empty: not granted
  keyR         @4 :Data;
  keyP         @5 :Data;
  headerDigest @6 :Data;   # of the frames whose signatures the supervisor checked, 32 bytes each; empty: the reader checks
  footerDigest @7 :Data;
}

struct RecordGrant {
  file   @0 :Text;
  key    @1 :Data;
  fromNs @2 :UInt64;  # the stretch of complete intervals that is meant: a file may hold several
  toNs   @3 :UInt64;
}

struct Progress {
  done  @0 :UInt64;  # bytes of segments read
  total @1 :UInt64;
  pausedNs @2 :UInt64;  # how long its workers waited for their allowance so far
}

struct Finished {
  packets @0 :UInt64;
  rows    @1 :UInt64;
  bytes   @2 :UInt64;
  gaps    @3 :List(Gap);
  damaged @4 :UInt64;  # blocks that could not be read
  readBytes @5 :UInt64; # reader: bytes of the trace that were read
  fuel      @6 :UInt64; # runner of a module: what it used
  wallNs    @7 :UInt64;
  memoryBytes @8 :UInt64;
  pausedNs  @9 :UInt64; # reader: how long its workers waited for their allowance
  late      @10 :UInt64; # runner: packets that are not in the order of time
}

# ---------------------------------------------------------------- runner

struct RunnerStart {
  union {
    module  @0 :ModuleRun;
    packets @1 :Void;
    records @2 :Void;      # rows come from the reader, already computed
    check   @5 :ModuleRun; # admit and try the module, nothing else: code is looked at away from all keys
  }
  header     @3 :Data;       # dataset header: a dataset_capnp Header message, decided by the supervisor
  recipients @4 :List(Data); # X-Wing public keys
  everyNs    @6 :UInt64;     # module, records: intervals are combined to this length; 0: they stay
  stored     @7 :ModuleRun;  # records of a module: it loads them, and merges them where its schema says so
}

struct Statement {
  head   @0 :Data;    # the dataset's head, from which the supervisor sees that it is the header it decided
  root   @1 :Data;
  chunks @2 :UInt64;
}

# ---------------------------------------------------------------- query

struct QueryStart {
  listen      @0 :Text;        # ip:port
  certificate @1 :Text;        # PEM chain
  key         @2 :Text;        # PEM
  trust       @3 :Trust;
  node        @4 :Text;
  metrics     @5 :Text;        # ip:port of the operator's metrics; empty: none
}

struct Trust {
  authorities @0 :List(Authority);
}

struct Authority {
  domain      @0 :Text;   # SPIFFE trust domain that this CA may speak for
  certificate @1 :Text;   # PEM
  revocations @2 :Text;   # PEM CRLs, may be empty
}

struct Ask {
  id     @0 :UInt64;
  asker  @1 :Text;        # SPIFFE id of the client certificate
  union {
    request @2 :Data;     # a SignedRequest message, verified by the supervisor
    state   @3 :Text;     # of a query
    result  @4 :Text;     # of a query: the answer carries a read-only descriptor
    status  @5 :Void;
    catalog @6 :Void;
    metrics @7 :Void;     # of the operator's own endpoint: nobody asks by name
    node    @8 :Void;
  }
  notAfterNs @9 :UInt64;  # until when the client certificate is valid, ns since the Unix epoch
}

struct Answer {
  id     @0 :UInt64;
  status @1 :UInt16;  # HTTP
  body   @2 :Data;    # JSON (or Prometheus text for metrics)
  file   @3 :Bool;    # one descriptor attached: the sealed dataset
  etag   @4 :Text;
}
