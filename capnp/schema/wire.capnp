@0xd3a1f0c5b7e24c02;
# Messages between the node's processes.

struct Placeholder { version @0 :UInt16; }
