/* requests.h: what kbench serve asks: chats that are made up, or the lines of a file, each of which is
 *
 *   {"messages": [...], ...}                                                a chat request, sent as it is
 *   {"timestamp": 1200, "messages": [...], ...}                             the same, at that many ms after the first line's
 *   {"timestamp": 1200, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, ...]}   a recorded request, as Mooncake's traces have them
 *
 * Of the last kind a prompt of that length is made of words; a block of 512 tokens is the same text wherever its hash id is the same, so that what
 * a prefix cache saved on the day it saves again. */
#ifndef K_REQUESTS_H
#define K_REQUESTS_H

#include "evals/client.h"

struct k_requests;

/* file NULL: made up, of which there are 64, that want so many tokens each. name: of the model. Words are counted with the server's own usage: two
 * small requests, where the file has lengths. */
int k_requests_open(struct k_requests **out, const char *file, const char *name, int64_t tokens, struct k_client *client, struct k_err *err) K_MUST_USE;
void k_requests_close(struct k_requests *q);            /* takes NULL */
int64_t k_requests_len(const struct k_requests *q);
bool k_requests_timed(const struct k_requests *q);      /* they have times: all or none do */
double k_requests_at(const struct k_requests *q, int64_t i);    /* seconds after the first */
/* The body of request i, in place of what b held. */
int k_requests_body(const struct k_requests *q, int64_t i, struct k_buf *b, struct k_err *err) K_MUST_USE;

#endif
