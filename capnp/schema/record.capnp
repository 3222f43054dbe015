@0xd3a1f0c5b7e24c03;
# Header of a record file: what computed the rows, and the wrapped key that opens them.
# Visible to whoever holds the disk; the rows are not.

struct RecordHeader {
  version       @0  :UInt16;  # 1
  metric        @1  :Data;    # 32 bytes: SHA-256 over what the rows were computed by
  name          @2  :Text;
  release       @3  :UInt64;
  wasmSha256    @4  :Data;
  arguments     @5  :List(Argument);
  audience      @6  :Text;    # empty: the module asks for no pseudonymous column, its rows serve everyone
  level         @7  :UInt8;
  outputLevel   @8  :UInt8;
  intervalNs    @9  :UInt64;
  sealingEpoch  @10 :UInt32;
  keyEnc        @11 :Data;    # HPKE encapsulation to the record identity of (epoch, output level)
  keyCiphertext @12 :Data;
  instance      @13 :UInt64;
}

struct Argument {
  name  @0 :Text;
  value @1 :Int64;
}
