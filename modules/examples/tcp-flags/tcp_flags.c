// TCP packets by flag: a module in C, written from docs/module-abi.md alone. Needs no library.
//
//   clang --target=wasm32 -mbulk-memory -std=c11 -O2 -nostdlib -Wl,--no-entry -Wl,-z,stack-size=8192
//         -Wl,--initial-memory=131072 -Wl,--max-memory=131072 -o tcp-flags.wasm tcp_flags.c
//   como module sign . --wasm tcp-flags.wasm -o tcp-flags.cmod

#define EXPORT(name) __attribute__((export_name(#name)))

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { BATCH_PACKETS = 1024, HEADER_BYTES = 64, FLAGS = 8 };

// The arena: its header, then the requested columns by ascending id, each with room for a batch.
static struct {
    u8 header[HEADER_BYTES];
    u32 weight[BATCH_PACKETS];
    u8 tcp_flags[BATCH_PACKETS];
} arena __attribute__((aligned(16)));

// The output: number of rows, then the columns of the schema, each padded to 16 bytes.
static struct {
    u32 rows;
    u32 zeros[3];
    u8 flag[16];
    u64 packets[FLAGS];
} output __attribute__((aligned(16)));

static u64 counts[FLAGS];

EXPORT(como_abi) int como_abi(void) { return 1; }
EXPORT(como_arena) int como_arena(void) { return (int)&arena; }
EXPORT(como_output) int como_output(void) { return (int)&output; }

EXPORT(init) int init(int args_bytes) { return args_bytes; } // there are no arguments: 0

EXPORT(update) int update(int packets) {
    for (int i = 0; i < packets; i++)
        for (int bit = 0; bit < FLAGS; bit++)
            counts[bit] += (arena.tcp_flags[i] >> bit & 1) * (u64)arena.weight[i];
    return 0;
}

EXPORT(store) int store(void) {
    output.rows = FLAGS;
    for (int bit = 0; bit < FLAGS; bit++) {
        output.flag[bit] = (u8)bit;
        output.packets[bit] = counts[bit];
        counts[bit] = 0;
    }
    return sizeof output;
}
