@0x9a6188a91be2ac0d;
# Segment files of the trace: header and footer. The blocks between them have a fixed binary header
# (node/src/trace/block.rs). Both messages are stored with an Ed25519 signature of capture's per-run key
# over their DSSE encoding; the exact bytes are signed, never a re-serialisation.

# A section's data key, sealed to the identity of that section and sealing epoch (HPKE).
struct WrappedKey {
  section    @0 :UInt8;   # 0 A, 1 R, 2 P
  suite      @1 :UInt16;  # HPKE suite id
  enc        @2 :Data;
  ciphertext @3 :Data;
}

# DSSE type "application/vnd.como.segment-header+capnp;v=1".
struct SegmentHeader {
  version               @0 :UInt16;  # 2
  segment               @1 :Data;    # 16 random bytes
  node                  @2 :Text;
  sealingEpoch          @3 :UInt32;  # days since the Unix epoch, packet time
  mappingEpoch          @4 :UInt32;
  source                @5 :Data;    # 16 bytes
  sourceDescription     @6 :Text;
  linkType              @7 :UInt32;  # LINKTYPE_ of the first block; every block's sealed entry has its own
  retain                @8 :UInt8;   # 0 A only, 1 A and R, 2 A, R and P
  keys                  @9 :List(WrappedKey);
  certificate           @10 :Data;   # the node's certificate for the run key that signs header and footer
  predecessor           @11 :Data;   # segment id; empty: the first segment of this capture run
  predecessorFooterHash @12 :Data;   # BLAKE3 of the predecessor's footer frame
  createdNs             @13 :UInt64; # wall time
  firstNs               @14 :UInt64; # packet time of its start, floored to 1 ms: visible, like the file's name
}

# DSSE type "application/vnd.como.segment-footer+capnp;v=1".
struct SegmentFooter {
  version       @0 :UInt16;  # 2
  segment       @1 :Data;
  blocks        @2 :UInt64;  # of all kinds
  packets       @3 :UInt64;
  wireBytes     @4 :UInt64;
  capturedBytes @5 :UInt64;
  lostPackets   @6 :UInt64;  # counted losses
  unknownLosses @7 :UInt32;  # gaps whose count nobody knows
  firstNs       @8 :UInt64;  # floored to 1 ms
  lastNs        @9 :UInt64;  # floored to 1 ms
  blocksHash    @10 :Data;   # BLAKE3 over the BLAKE3 digests of all blocks, in order
  indexPosition @11 :UInt64; # file offset of the last index block, which has the table of blocks
  indexHash     @12 :Data;   # BLAKE3 of that block's clear header
  reason        @13 :UInt8;  # why the segment ended: 0 size, 1 epoch, 2 source end, 3 stop
  sectionBytes  @14 :List(UInt64); # sealed bytes of sections A (with the index), R and P
}

# One entry per block but the last, in block order: a slot of the segment's last index block, sealed under A.
struct BlockTable {
  position   @0 :List(UInt64);  # file offset of the block header
  kind       @1 :List(UInt8);   # 1 packets, 2 gaps, 3 index
  firstMs    @2 :List(UInt64);  # earliest and latest packet time, ms since the Unix epoch
  lastMs     @3 :List(UInt64);
  packets    @4 :List(UInt32);
  wireBytes  @5 :List(UInt64);
}
