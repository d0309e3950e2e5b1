/* SPDX-License-Identifier: 0BSD
 *
 * A plugin for QEMU 7.2 that counts the instructions a program executes.
 *
 *     cc -O2 -fPIC -shared -o libicount.so icount.c
 *     qemu-aarch64 -plugin ./libicount.so -d plugin -D counts.txt ./program
 *
 * counts.txt: "total N", and with the argument profile=on (-plugin ./libicount.so,profile=on) a line
 * "function NAME N" for each function of the program's symbol table, the largest first.
 *
 * QEMU speaks plugin API version 1 up to 8.x; the declarations below are that version's, because
 * distributions ship no qemu-plugin.h. Later versions took the two *_inline functions away and refuse
 * to load this file.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*translated)(qemu_plugin_id_t,
                                                                     struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation,
                                                     void *target, uint64_t value);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction,
                                                       int operation, void *target, uint64_t value);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                           void (*finished)(qemu_plugin_id_t, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block,
                                                        size_t index);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_outs(const char *text);

enum { FUNCTIONS = 1024, NAME = 64 };

struct function {
    char name[NAME];
    uint64_t count;
};

EXPORT int qemu_plugin_version = 1;

static uint64_t total;
static int profile;
static struct function functions[FUNCTIONS]; /* the last one takes what finds no place */
static int function_count;

static uint64_t *counter_of(const char *symbol)
{
    int i;
    if (symbol == NULL || symbol[0] == '\0')
        symbol = "(no symbol)";
    for (i = 0; i < function_count; i++)
        if (strncmp(functions[i].name, symbol, NAME - 1) == 0)
            return &functions[i].count;
    if (function_count == FUNCTIONS)
        return &functions[FUNCTIONS - 1].count;
    strncpy(functions[function_count].name, symbol, NAME - 1);
    return &functions[function_count++].count;
}

/* Every block of code, once, when it is translated: let it add its length whenever it runs. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    const size_t n = qemu_plugin_tb_n_insns(block);
    size_t i;
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &total, n);
    for (i = 0; profile && i < n; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_insn_exec_inline(
            instruction, QEMU_PLUGIN_INLINE_ADD_U64,
            counter_of(qemu_plugin_insn_symbol(instruction)), 1);
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
    int i;
    (void)id;
    (void)data;
    snprintf(line, sizeof line, "total %" PRIu64 "\n", total);
    qemu_plugin_outs(line);
    qsort(functions, (size_t)function_count, sizeof functions[0], larger_first);
    for (i = 0; i < function_count && functions[i].count > 0; i++) {
        snprintf(line, sizeof line, "function %s %" PRIu64 "\n", functions[i].name,
                 functions[i].count);
        qemu_plugin_outs(line);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                               char **argv)
{
    int i;
    (void)info;
    for (i = 0; i < argc; i++)
        if (strcmp(argv[i], "profile=on") == 0)
            profile = 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
