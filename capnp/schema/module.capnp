@0x9fe62fa158c5c58f;
# module format.

struct Placeholdermodule {
  version @0 :UInt16;
}
