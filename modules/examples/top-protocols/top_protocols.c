// The k IP protocols with most packets: a module in C, written from docs/module-abi.md alone, that chooses in `load` what an
// answer has. Its records have all of them, so that longer intervals are exact and serve every k. Needs no library.
//
//   clang --target=wasm32 -mbulk-memory -std=c11 -O2 -nostdlib -Wl,--no-entry -Wl,-z,stack-size=8192
//         -Wl,--initial-memory=131072 -Wl,--max-memory=131072 -o top-protocols.wasm top_protocols.c
//   como module sign . --wasm top-protocols.wasm -o top-protocols.cmod

#define EXPORT(name) __attribute__((export_name(#name)))

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { BATCH_PACKETS = 1024, PART_ROWS = 1024, HEADER_BYTES = 64, PROTOCOLS = 256, ALIGN = 16 };

// The arena: its header, then the requested columns by ascending id, each with room for a batch. During `init` the arguments
// stand where the first column is.
static struct {
    u8 header[HEADER_BYTES];
    u32 weight[BATCH_PACKETS];
    u8 protocol[BATCH_PACKETS];
} arena __attribute__((aligned(16)));

// Rows that were stored before: a header of as many bytes, then the columns of the schema, each with room for a part.
static struct {
    u8 header[HEADER_BYTES];
    u8 protocol[PART_ROWS];
    u64 packets[PART_ROWS];
} table __attribute__((aligned(16)));

// The output: number of rows, then the columns of the schema. Where the second begins depends on the number of rows.
static struct {
    u32 rows;
    u32 zeros[3];
    u8 columns[PROTOCOLS + PROTOCOLS * sizeof(u64)];
} output __attribute__((aligned(16)));

static u64 counts[PROTOCOLS]; // of the open interval
static u64 stored[PROTOCOLS]; // of the table that is loaded
static long long k;

EXPORT(como_abi) int como_abi(void) { return 1; }
EXPORT(como_arena) int como_arena(void) { return (int)&arena; }
EXPORT(como_output) int como_output(void) { return (int)&output; }
EXPORT(como_table) int como_table(void) { return (int)&table; }

static int padded(int bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

// Leaves the protocols of these counts, by number; gives the bytes of the output.
static int put(const u64 *of) {
    int rows = 0;
    for (int i = 0; i < PROTOCOLS; i++)
        if (of[i] > 0)
            output.columns[rows++] = (u8)i;
    u64 *packets = (u64 *)(output.columns + padded(rows));
    for (int i = rows; i < padded(rows); i++)
        output.columns[i] = 0;
    for (int i = 0; i < rows; i++)
        packets[i] = of[output.columns[i]];
    if (rows % 2)
        packets[rows] = 0;
    output.rows = (u32)rows;
    return 16 + padded(rows) + padded(rows * (int)sizeof(u64));
}

EXPORT(init) int init(int args_bytes) {
    if (args_bytes != 8)
        return 1;
    k = *(const long long *)((const u8 *)&arena + HEADER_BYTES);
    return 0;
}

EXPORT(update) int update(int packets) {
    for (int i = 0; i < packets; i++)
        counts[arena.protocol[i]] += arena.weight[i];
    return 0;
}

EXPORT(store) int store(void) {
    int bytes = put(counts);
    for (int i = 0; i < PROTOCOLS; i++)
        counts[i] = 0;
    return bytes;
}

// There are no more protocols than rows in a part: a table is one part.
EXPORT(load) int load(int rows) {
    for (int i = 0; i < PROTOCOLS; i++)
        stored[i] = 0;
    for (int i = 0; i < rows; i++)
        stored[table.protocol[i]] = table.packets[i];
    u64 best[PROTOCOLS];
    for (int i = 0; i < PROTOCOLS; i++) {
        int before = 0; // with more packets, or with as many and a smaller number
        for (int j = 0; j < rows; j++) {
            int other = table.protocol[j];
            before += stored[other] > stored[i] || (stored[other] == stored[i] && other < i);
        }
        best[i] = before < k ? stored[i] : 0;
    }
    return put(best);
}
