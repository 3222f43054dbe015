@0xb3f83b6d7e543e1a;
# dataset format.

struct Placeholderdataset {
  version @0 :UInt16;
}
