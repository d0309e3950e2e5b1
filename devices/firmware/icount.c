/* SPDX-License-Identifier: 0BSD
 *
 * A plugin for QEMU 4.2 to 10 that counts the instructions a program executes.
 *
 *     cc -O2 -fPIC -shared -o libicount.so icount.c
 *     qemu-aarch64 -plugin ./libicount.so -d plugin -D counts.txt ./program
 *
 * counts.txt: "total N" at the end. Arguments (-plugin ./libicount.so,profile=on,mark=here) add lines:
 *
 *     profile=on   "function NAME N" for each function of the program's symbol table, the largest first
 *     mark=NAME    "mark N" whenever the function NAME is entered, N counted so far
 *     syscall=K    "mark N" at every system call K, for programs without a symbol table
 *     blocks=on    "block ADDRESS LENGTH N" for each block of code that ran N > 0 times between marks that
 *                  belong together: the first and the second, the third and the fourth, and so on. ADDRESS
 *                  is in hexadecimal, LENGTH in instructions. What was translated twice has two lines, and
 *                  blocks may overlap.
 *
 * QEMU speaks version 1 of the plugin interface up to 8.x and version 2 from 9.0 on (-DAPI=2), where
 * counters lie in scoreboards. The declarations are here because distributions ship no qemu-plugin.h.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(API)
#define API 1
#endif
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0, QEMU_PLUGIN_CB_NO_REGS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*translated)(qemu_plugin_id_t,
                                                                     struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block,
                                                 void (*executed)(unsigned, void *), int flags,
                                                 void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                                 void (*called)(qemu_plugin_id_t, unsigned, int64_t,
                                                                uint64_t, uint64_t, uint64_t, uint64_t,
                                                                uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                           void (*finished)(qemu_plugin_id_t, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block,
                                                        size_t index);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_outs(const char *text);

enum { FUNCTIONS = 1024, NAME = 64 };

struct function {
    char name[NAME];
    uint64_t count;
};

struct block {
    uint64_t address, length, count;
    struct block *next;
};

EXPORT int qemu_plugin_version = API;

/* Counter 0 is the total, counter 1 + i that of function i. */
#if API == 1
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation,
                                                     void *target, uint64_t value);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction,
                                                       int operation, void *target, uint64_t value);
static uint64_t counters[1 + FUNCTIONS];

static void set_up(void)
{
}

static uint64_t count_of(int i)
{
    return counters[i];
}

static void count_block(struct qemu_plugin_tb *block, int i, uint64_t n)
{
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &counters[i], n);
}

static void count_one(struct qemu_plugin_insn *instruction, int i)
{
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64, &counters[i], 1);
}
#else
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;

extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t bytes);
extern uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
extern void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *block, int operation,
                                                              qemu_plugin_u64 entry, uint64_t value);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *instruction,
                                                                int operation, qemu_plugin_u64 entry,
                                                                uint64_t value);
static struct qemu_plugin_scoreboard *counters;

static void set_up(void)
{
    counters = qemu_plugin_scoreboard_new((1 + FUNCTIONS) * sizeof(uint64_t));
}

static qemu_plugin_u64 counter(int i)
{
    qemu_plugin_u64 entry = {counters, (size_t)i * sizeof(uint64_t)};
    return entry;
}

static uint64_t count_of(int i)
{
    return qemu_plugin_u64_sum(counter(i));
}

static void count_block(struct qemu_plugin_tb *block, int i, uint64_t n)
{
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, QEMU_PLUGIN_INLINE_ADD_U64, counter(i), n);
}

static void count_one(struct qemu_plugin_insn *instruction, int i)
{
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, QEMU_PLUGIN_INLINE_ADD_U64, counter(i), 1);
}
#endif

static int profile;
static char mark[NAME]; /* the function, or empty */
static int64_t mark_call = -1;
static struct function functions[FUNCTIONS]; /* the last one takes what finds no place */
static int function_count;
static int blocks, inside; /* whether blocks are counted, whether the last mark began something */
static struct block *newest;

/* The function's number, from 0. */
static int number_of(const char *symbol)
{
    int i;
    if (symbol == NULL || symbol[0] == '\0')
        symbol = "(no symbol)";
    for (i = 0; i < function_count; i++)
        if (strncmp(functions[i].name, symbol, NAME - 1) == 0)
            return i;
    if (function_count == FUNCTIONS)
        return FUNCTIONS - 1;
    strncpy(functions[function_count].name, symbol, NAME - 1);
    return function_count++;
}

static void marked(void)
{
    char line[32];
    snprintf(line, sizeof line, "mark %" PRIu64 "\n", count_of(0));
    qemu_plugin_outs(line);
    inside = !inside;
}

static void entered(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    marked();
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == mark_call)
        marked();
}

static void ran(unsigned cpu, void *data)
{
    (void)cpu;
    ((struct block *)data)->count += (uint64_t)inside;
}

static void watch(struct qemu_plugin_tb *block, size_t length)
{
    struct block *const seen = calloc(1, sizeof *seen);
    if (seen == NULL)
        abort(); /* a count that leaves something out is wrong */
    seen->address = qemu_plugin_tb_vaddr(block);
    seen->length = length;
    seen->next = newest;
    newest = seen;
    qemu_plugin_register_vcpu_tb_exec_cb(block, ran, QEMU_PLUGIN_CB_NO_REGS, seen);
}

/* A function that is called starts a block of its own. */
static int is_mark(struct qemu_plugin_tb *block)
{
    const char *symbol = mark[0] == '\0' ? NULL : qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(block, 0));
    return symbol != NULL && strcmp(symbol, mark) == 0;
}

/* Every block of code, once, when it is translated: let it add its length whenever it runs. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    const size_t n = qemu_plugin_tb_n_insns(block);
    size_t i;
    (void)id;
    count_block(block, 0, n);
    if (blocks)
        watch(block, n);
    if (is_mark(block))
        qemu_plugin_register_vcpu_tb_exec_cb(block, entered, QEMU_PLUGIN_CB_NO_REGS, NULL);
    for (i = 0; profile && i < n; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        count_one(instruction, 1 + number_of(qemu_plugin_insn_symbol(instruction)));
    }
}

static int larger_first(const void *a, const void *b)
{
    const uint64_t left = ((const struct function *)a)->count;
    const uint64_t right = ((const struct function *)b)->count;
    return left < right ? 1 : left > right ? -1 : 0;
}

static void finished(qemu_plugin_id_t id, void *data)
{
    char line[NAME + 48];
    const struct block *block;
    int i;
    (void)id;
    (void)data;
    snprintf(line, sizeof line, "total %" PRIu64 "\n", count_of(0));
    qemu_plugin_outs(line);
    for (i = 0; i < function_count; i++)
        functions[i].count = count_of(1 + i);
    qsort(functions, (size_t)function_count, sizeof functions[0], larger_first);
    for (i = 0; i < function_count && functions[i].count > 0; i++) {
        snprintf(line, sizeof line, "function %s %" PRIu64 "\n", functions[i].name,
                 functions[i].count);
        qemu_plugin_outs(line);
    }
    for (block = newest; block != NULL; block = block->next) {
        if (block->count == 0)
            continue;
        snprintf(line, sizeof line, "block %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address,
                 block->length, block->count);
        qemu_plugin_outs(line);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                               char **argv)
{
    int i;
    (void)info;
    for (i = 0; i < argc; i++) {
        if (strcmp(argv[i], "profile=on") == 0)
            profile = 1;
        if (strcmp(argv[i], "blocks=on") == 0)
            blocks = 1;
        if (strncmp(argv[i], "mark=", 5) == 0)
            strncpy(mark, argv[i] + 5, NAME - 1);
        if (strncmp(argv[i], "syscall=", 8) == 0)
            mark_call = strtoll(argv[i] + 8, NULL, 10);
    }
    set_up();
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    if (mark_call >= 0)
        qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
