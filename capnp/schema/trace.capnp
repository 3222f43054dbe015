@0x9a6188a91be2ac0d;
# trace format.

struct Placeholdertrace {
  version @0 :UInt16;
}
