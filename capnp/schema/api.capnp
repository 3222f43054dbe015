@0xd3a1f0c5b7e24c01;
# What partners, developers and operators ask of a node, over HTTPS with mutual TLS.
# Every request is signed by the asker's own key, so that the network process cannot make one up.

struct SignedRequest {
  request   @0 :Data;  # one Request message, as signed: never re-serialised
  keyId     @1 :Data;  # 16 bytes: start of SHA-256 of the public key
  signature @2 :Data;  # Ed25519 over the DSSE encoding of `request`, type "application/vnd.como.request+capnp;v=1"
}

struct Request {
  version  @0 :UInt16;  # 1
  node     @1 :Text;    # SPIFFE id of the node that is meant: a request is good for one node only
  asker    @2 :Text;    # SPIFFE id of the asker: must be the one in the TLS certificate
  nonce    @3 :Data;    # 16 random bytes: a request is good once
  expiryNs @4 :UInt64;  # wall time, ns since the Unix epoch; at most 10 minutes ahead
  union {
    submitModule @5  :SubmitModule;
    startModule  @6  :StartModule;
    stopModule   @7  :ModuleRef;
    listModules  @8  :Void;
    revokeModule @9  :ModuleRef;
    query        @10 :Query;
    trace        @11 :TraceDownload;
    queryState   @12 :QueryRef;
    cancel       @13 :QueryRef;
    catalog      @14 :Void;
    status       @15 :Void;
    pauseModule  @16 :ModuleRef;
    resumeModule @17 :ModuleRef;
  }
}

struct SubmitModule {
  module @0 :Data;  # the signed module file (.cmod), at most 4 MiB
}

struct ModuleRef {
  name @0 :Text;
  hash @1 :Data;  # SHA-256 of the wasm; empty: the newest release of that name
}

struct Argument {
  name  @0 :Text;
  value @1 :Int64;
}

struct StartModule {
  module    @0 :ModuleRef;
  arguments @1 :List(Argument);
  audience  @2 :Text;  # empty: the asker's own project
}

struct Query {
  module    @0 :ModuleRef;
  carried   @1 :Data;  # a signed module sent along; empty: a module that the node has
  arguments @2 :List(Argument);
  filter    @3 :Text;  # on the asker's view, at `level`
  level     @4 :UInt8; # access level asked: 0 aggregate .. 4 payload
  fromNs    @5 :UInt64;
  toNs      @6 :UInt64;
  explain   @7 :Bool;  # decide and estimate only
  fresh     @8 :Bool;  # do not reuse stored records
  everyNs   @9 :UInt64; # length of the intervals wanted, a multiple of the module's own; 0: the module's own
}

struct TraceDownload {
  filter  @0 :Text;
  level   @1 :UInt8;
  fromNs  @2 :UInt64;
  toNs    @3 :UInt64;
  explain @4 :Bool;
}

struct QueryRef {
  id @0 :Text;
}
