@0x9fe62fa158c5c58f;
# Modules as they travel: the file `NAME.cmod` is the eight bytes "COMOMOD1", then one SignedModule.
# Evolution: append fields with the next ordinal; never renumber, retype or reuse one.

struct Manifest {
  # Everything that a node must know of a module before it runs it. Signed as the raw bytes of one
  # serialised message: those bytes are kept and shown as they came, never serialised again.
  schemaVersion @0 :UInt16;      # 1
  name @1 :Text;                 # [a-z][a-z0-9-]{0,31}
  version @2 :Text;              # for people, such as "1.2.0"
  release @3 :UInt64;            # for machines: grows with every release, a node refuses a smaller one
  developer @4 :Text;            # SPIFFE id
  keyId @5 :Data;                # 16 bytes, names the developer's key; the key itself comes from the registry
  wasmSha256 @6 :Data;           # 32 bytes, binds the code
  wasmLen @7 :UInt32;            # bytes
  abi @8 :UInt16;                # 1
  filter @9 :Text;               # pcap-filter subset, run by the host on the view of `level`; "" is everything
  level @10 :UInt8;              # access level read at (0 aggregate .. 4 payload)
  outputLevel @11 :UInt8;        # level that a reader of the records needs
  intervalNs @12 :UInt64;        # measurement interval
  memoryBytes @13 :UInt32;       # the guest's memory, fixed, a multiple of 64 KiB
  columns @14 :Data;             # ids of the requested packet columns, ascending, one byte each
  wantsFrames @15 :Bool;         # the visible bytes of each packet too
  schema @16 :List(OutputColumn);
  arguments @17 :List(Argument);
  priority @18 :UInt8;           # static priority, 0 is shed first
  notAfterNs @19 :UInt64;        # expiry, wall time
  description @20 :Text;         # one line
}

struct OutputColumn {
  name @0 :Text;
  kind @1 :Kind;
  unit @2 :Text;
  description @3 :Text;
  merge @4 :Merge;
}

enum Kind {
  u8 @0; u16 @1; u32 @2; u64 @3; i64 @4; f64 @5; bool @6;
  address @7;                    # 16 bytes, IPv4 as ::ffff:a.b.c.d
  bytes @8; text @9;
  timeNs @10;
}

enum Merge {
  # How two rows with equal keys become one.
  key @0; sum @1; min @2; max @3; last @4;
  hyperLogLog @5;                # registers, merged by maximum
  guest @6;                      # by the guest's own `merge`
}

struct Argument {
  name @0 :Text;
  default @1 :Int64;
  min @2 :Int64;
  max @3 :Int64;
  description @4 :Text;
  loadOnly @5 :Bool;             # `load` alone sees its value: records are computed with the default
}

struct Signature {
  keyId @0 :Data;                # 16 bytes
  signature @1 :Data;            # 64 bytes, Ed25519 over the DSSE encoding of (type, payload)
}

struct SignedModule {
  manifest @0 :Data;             # one serialised Manifest
  signatures @1 :List(Signature);
  wasm @2 :Data;
}

struct RevocationList {
  # What a node no longer runs. Numbered and expiring, so that neither an old list nor silence helps an attacker.
  number @0 :UInt64;
  issuedNs @1 :UInt64;
  expiresNs @2 :UInt64;
  keys @3 :List(Data);           # key ids of developers, 16 bytes each
  modules @4 :List(Data);        # SHA-256 of wasm, 32 bytes each
}

struct SignedRevocationList {
  list @0 :Data;                 # one serialised RevocationList
  signature @1 :Signature;
}
