@0xc6dd38d2747652ca;
# The dataset container (.como): what leaves a node, sealed to its recipients, signed by the node.
# The bytes around these messages (magic, lengths, seals, trailer) are in dataset/src/format.rs.
# Only append fields; never renumber or retype one.

# --- in the clear, covered by the header MAC and by the node's signature ---

struct Header {
  node          @0  :Text;    # SPIFFE id of the node that made the dataset
  nodeKey       @1  :Data;    # 16 bytes: id of the key that signs the trailer
  queryId       @2  :Text;
  kind          @3  :Kind;
  level         @4  :UInt8;   # access level, 0 aggregate .. 4 payload
  window        @5  :Window;
  filter        @6  :Text;    # canonical text; empty: no filter
  module        @7  :Module;  # absent: no module ran (trace download, SQL)
  audience      @8  :Text;    # for whom pseudonyms were made
  mappingEpoch  @9  :UInt32;
  fields        @10 :List(Field);  # Table: the columns, in order
  linkType      @11 :UInt32;       # Packets: LINKTYPE_ number
  gaps          @12 :List(Gap);    # known when the dataset was begun; all of them are in End
  interrupted   @13 :List(Window);
  createdNs     @14 :UInt64;  # wall time, ns since the Unix epoch
  policyHash    @15 :Text;    # the policy set that allowed it
  salt          @16 :Data;    # 32 random bytes, never reused: salts keys and recipient ids
  chunkBytes    @17 :UInt32;  # no chunk message is larger
}

enum Kind {
  table   @0;
  packets @1;
}

struct Window {
  fromNs @0 :UInt64;  # packet time, ns since the Unix epoch, inclusive
  toNs   @1 :UInt64;  # exclusive
}

struct Module {
  name      @0 :Text;
  release   @1 :UInt64;
  hash      @2 :Text;  # SHA-256 of the wasm, hex
  arguments @3 :List(Argument);
  intervalNs @4 :UInt64; # length of the rows' intervals; 0: of the module's manifest
}

struct Argument {
  name  @0 :Text;
  value @1 :Int64;
}

struct Field {
  name        @0 :Text;
  kind        @1 :ColumnKind;
  unit        @2 :Text;
  description @3 :Text;
  merge       @4 :Text;  # how rows of several intervals or nodes combine: sum, max, ...; empty: a key
}

enum ColumnKind {
  u8      @0;
  u16     @1;
  u32     @2;
  u64     @3;
  i64     @4;
  f64     @5;
  bool    @6;
  address @7;
  bytes   @8;
  text    @9;
  timeNs  @10;
}

struct Gap {
  fromNs @0 :UInt64;
  toNs   @1 :UInt64;
  cause  @2 :Text;
  count  @3 :UInt64;  # packets, where counted
  counted @4 :Bool;
}

struct Stanzas {
  # One per recipient, in the order of their salted ids.
  stanzas @0 :List(Stanza);
}

struct Stanza {
  id         @0 :Data;  # 16 bytes, salted per dataset: two datasets do not show the same recipient
  enc        @1 :Data;  # HPKE encapsulated key
  ciphertext @2 :Data;  # the dataset's key, sealed
}

# --- sealed ---

struct Chunk {
  # Columns, never row structs: a column costs its bytes, a row struct two to three times as many.
  union {
    table   @0 :TableChunk;
    packets @1 :PacketChunk;
    end     @2 :End;       # always the last chunk, and only there
  }
}

struct TableChunk {
  rows    @0 :UInt32;
  columns @1 :List(Column);
}

struct Column {
  union {
    u8      @0  :Data;
    u16     @1  :List(UInt16);
    u32     @2  :List(UInt32);
    u64     @3  :List(UInt64);
    i64     @4  :List(Int64);
    f64     @5  :List(Float64);
    bool    @6  :Data;          # a byte each, 0 or 1
    address @7  :Data;          # 16 bytes each; IPv4 as ::ffff:a.b.c.d
    bytes   @8  :Ragged;
    text    @9  :Ragged;        # each UTF-8
    timeNs  @10 :List(UInt64);
  }
}

struct Ragged {
  offsets @0 :List(UInt32);  # rows + 1, ascending, the first 0
  bytes   @1 :Data;
}

struct PacketChunk {
  tsNs    @0 :List(UInt64);
  wireLen @1 :List(UInt32);  # bytes on the wire
  frames  @2 :Ragged;        # the bytes released
}

struct End {
  # How complete the dataset is.
  gaps           @0 :List(Gap);
  interrupted    @1 :List(Window);
  suppressedRows @2 :UInt64;  # withheld by a threshold
  rows           @3 :UInt64;
  packets        @4 :UInt64;
  sampled        @5 :List(Sampled);  # intervals whose rows were computed of samples
}

struct Sampled {
  window @0 :Window;
  oneIn  @1 :UInt32;  # one packet in so many was looked at, at worst
}
