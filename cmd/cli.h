/* cli.h: one main for all tools: context, options, signals, exit status, last flush.
 *
 * Each cmd/kX.c defines `const struct k_tool k_tool` and nothing else that is visible; cmd/cli.c's main() parses the options,
 * answers --help and --version, makes the context (log, pool, stop flag, ceiling), installs the signal handlers (SIGINT and
 * SIGTERM set *stop; a second one removes temporary files and ends; SIGBUS in a mapped file: sentence, exit 5; SIGPIPE keeps
 * its default), runs tool->run, prints "<tool>: sentence" as the last line on standard error when it failed, flushes and checks
 * standard output, and returns the exit status (128 + signal when stopped by one). */
#ifndef K_CLI_H
#define K_CLI_H

#include "libcore/ctx.h"
#include "libcore/log.h"
#include "libcore/opt.h"
#include "libcore/buf.h"

extern const struct k_tool k_tool;

/* Results: JSON lines or a table? --json/--table, else a table when standard output is a terminal. */
bool k_cli_wants_table(const struct k_common *c);
/* Writes to standard output and checks: K_EIO on failure. */
int k_cli_write(const void *p, size_t n, struct k_err *err) K_MUST_USE;
/* The model operand: operands[0], else "-" when standard input is not a terminal, else K_EUSAGE. */
int k_cli_model(int n_operands, char **operands, const char **out, struct k_err *err) K_MUST_USE;

/* A file that an option names; path NULL or "-": none. */
struct k_cli_file { const char *option, *path; };
/* K_EUSAGE when two of the outputs are one file, or one of them is also an input, by an option or as an operand: whichever is written last would
 * take the other's place. */
int k_cli_apart(const struct k_cli_file *outs, int n_outs, const struct k_cli_file *ins, int n_ins, int n_operands, char **operands, struct k_err *err)
	K_MUST_USE;

#endif
